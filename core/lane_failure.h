// Shared by the lanes of one device: keeps the first error and tells every lane to skip what is queued.
#pragma once

#include <atomic>
#include <exception>
#include <mutex>

namespace penstock {

class LaneFailure {
 public:
  void set(std::exception_ptr error);
  // Skips queued work without an error: the device closes.
  void close() { skips_work_ = true; }
  bool skips_work() const { return skips_work_; }
  void throw_if_set() const;

 private:
  std::atomic<bool> skips_work_ = false;
  mutable std::mutex mutex_;
  std::exception_ptr first_error_;
};

}  // namespace penstock
