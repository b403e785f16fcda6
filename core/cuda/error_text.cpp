#include "core/cuda/error_text.h"

#include <fmt/format.h>

#include <string>

namespace penstock {
namespace {

std::string_view advice(CudaStatus status) {
  switch (status) {
    case CudaStatus::kMemoryAllocation:
      return "lower device.memory_gb, or end other programs on the GPU (nvidia-smi lists them)";
    case CudaStatus::kDevicesUnavailable:
      return "another program has the GPU to itself: wait for its end or choose another device.index";
    case CudaStatus::kUncorrectableMemory:
      return "the GPU's memory is faulty: reset the GPU or restart the machine, then resume from the last checkpoint";
    case CudaStatus::kLaunchTimeout:
      return "the system stopped a kernel that ran too long: use a GPU without a display, then resume from the last "
             "checkpoint";
    case CudaStatus::kInitializationError:
    case CudaStatus::kSystemNotReady:
      return "the driver is not ready: see whether nvidia-smi works and, on machines with NVSwitch, whether the fabric "
             "manager runs; or set device.backend: host";
    case CudaStatus::kIllegalAddress:
    case CudaStatus::kInvalidValue:
    case CudaStatus::kInvalidResourceHandle:
      return "this is a bug of penstock: please report it with this line";
    default:
      return "the GPU can no longer be used by this run: the kernel's log has the cause (dmesg, lines with Xid); "
             "resume from the last checkpoint";
  }
}

}  // namespace

Error cuda_error(CudaRuntime& runtime, CudaStatus status, std::string_view doing) {
  const ExitCode code = status == CudaStatus::kMemoryAllocation ? ExitCode::kDoesNotFit : ExitCode::kDevice;
  return Error(code, fmt::format("CUDA: {}: {} ({}, {}); {}", doing, runtime.error_text(status),
                                 runtime.error_name(status), static_cast<int>(status), advice(status)));
}

}  // namespace penstock
