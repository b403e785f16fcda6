#include "core/cuda/context.h"

#include <exception>

#include "core/cuda/error_text.h"

namespace penstock {

CudaContext::CudaContext(CudaRuntime& runtime, int index) : runtime_(runtime), index_(index) {}

void CudaContext::enter() {
  int current = 0;
  check(runtime_.get_device(&current), "asking which GPU the thread uses");
  if (current != index_) check(runtime_.set_device(index_), "using the GPU from another thread");
}

void CudaContext::enter_to_release() noexcept {
  int current = 0;
  const CudaStatus status = runtime_.get_device(&current);
  if (status == CudaStatus::kSuccess && current == index_) return;
  runtime_.set_device(index_);
  runtime_.take_last_error();
}

void CudaContext::check(CudaStatus status, std::string_view doing) {
  if (status == CudaStatus::kSuccess) return;
  runtime_.take_last_error();
  fail(cuda_error(runtime_, status, doing));
}

void CudaContext::check_alive(std::string_view doing) {
  runtime_.take_last_error();
  uint64_t free_bytes = 0, total_bytes = 0;
  check(runtime_.get_memory(&free_bytes, &total_bytes), doing);
}

void CudaContext::fail(const Error& error) {
  failure_.set(std::make_exception_ptr(error));
  failure_.throw_if_set();
  throw error;  // not reached: an error is kept
}

}  // namespace penstock
