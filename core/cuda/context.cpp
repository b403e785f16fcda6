#include "core/cuda/context.h"

#include <atomic>
#include <exception>

#include "core/cuda/error_text.h"

namespace penstock {
namespace {

uint64_t next_id() {
  static std::atomic<uint64_t> newest = 0;
  return ++newest;
}

thread_local uint64_t entered_id = 0;  // of the context whose device is current

}  // namespace

CudaContext::CudaContext(CudaRuntime& runtime, int index) : runtime_(runtime), index_(index), id_(next_id()) {}

void CudaContext::enter() {
  if (entered_id == id_) return;
  check(runtime_.set_device(index_), "using the GPU from another thread");
  entered_id = id_;
}

void CudaContext::enter_to_release() noexcept {
  if (entered_id == id_) return;
  if (runtime_.set_device(index_) == CudaStatus::kSuccess) entered_id = id_;
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
