// What every CUDA object of one device needs: the table of functions, which device it is, and the device's first error.
// Shared, so that an event or a registration may outlive the device. The runtime outlives all of them.
#pragma once

#include <string_view>

#include "core/cuda/runtime.h"
#include "core/error.h"
#include "core/lane_failure.h"

namespace penstock {

class CudaContext {
 public:
  // Makes no call.
  CudaContext(CudaRuntime& runtime, int index);
  CudaContext(const CudaContext&) = delete;
  CudaContext& operator=(const CudaContext&) = delete;

  CudaRuntime& runtime() const { return runtime_; }
  int index() const { return index_; }
  LaneFailure& failure() { return failure_; }

  // CUDA's current device belongs to the thread, and others (LibTorch, a look at another card) change it. So this asks,
  // some 20 ns, before anything else is called.
  void enter();
  // The same for destructors: keeps going, whatever happens.
  void enter_to_release() noexcept;

  // Keeps and throws what `status` says, unless all is well or an earlier error is kept: then that one.
  void check(CudaStatus status, std::string_view doing);
  // Clears the thread's last error, then throws if the device answers no more: a lost device fails every call.
  void check_alive(std::string_view doing);
  [[noreturn]] void fail(const Error& error);

 private:
  CudaRuntime& runtime_;
  const int index_;
  LaneFailure failure_;
};

}  // namespace penstock
