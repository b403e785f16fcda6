#include "core/lane_failure.h"

#include <utility>

namespace penstock {

void LaneFailure::set(std::exception_ptr error) {
  std::lock_guard lock(mutex_);
  if (!first_error_) first_error_ = std::move(error);
  skips_work_ = true;
}

void LaneFailure::throw_if_set() const {
  if (!skips_work_) return;
  std::exception_ptr error;
  {
    std::lock_guard lock(mutex_);
    error = first_error_;
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace penstock
