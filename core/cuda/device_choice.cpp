#include "core/cuda/device_choice.h"

#include <fmt/format.h>

#include "core/cuda/error_text.h"

namespace penstock {
namespace {

constexpr int kOldestMajor = 8;  // bf16 tensor cores and flash attention

std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

CudaDeviceChoice unusable(std::string problem, bool is_absent = false) {
  return {.info = std::nullopt, .is_absent = is_absent, .problem = std::move(problem)};
}

CudaDeviceChoice unusable(CudaRuntime& runtime, CudaStatus status, const std::string& doing) {
  runtime.take_last_error();
  return unusable(cuda_error(runtime, status, doing).what());
}

// Why there is no count of devices.
CudaDeviceChoice without_count(CudaRuntime& runtime, CudaStatus status) {
  runtime.take_last_error();
  CudaDeviceInfo versions;
  const bool has_driver =
      runtime.get_driver_version(&versions.driver_version) == CudaStatus::kSuccess && versions.driver_version > 0;
  runtime.get_runtime_version(&versions.runtime_version);
  runtime.take_last_error();
  if (status == CudaStatus::kNoDevice) {
    return unusable(
        "CUDA finds no GPU: check that nvidia-smi lists it and that CUDA_VISIBLE_DEVICES does not hide it, or set "
        "device.backend: host",
        true);
  }
  if (!has_driver || status == CudaStatus::kStubLibrary) {
    return unusable("no NVIDIA driver found: install one of release 580.65 or newer, or set device.backend: host",
                    true);
  }
  const bool is_mismatch =
      status == CudaStatus::kSystemDriverMismatch || status == CudaStatus::kUnsupportedCompatibility;
  if (status == CudaStatus::kInsufficientDriver || is_mismatch) {
    return unusable(fmt::format(
        "the NVIDIA driver runs CUDA {} ({}), and this build needs CUDA {}: install a driver "
        "of release 580.65 or newer and restart, or set device.backend: host",
        version_text(versions.driver_version), runtime.error_text(status), version_text(versions.runtime_version)));
  }
  return unusable(runtime, status, "looking for GPUs");
}

}  // namespace

CudaDeviceChoice choose_cuda_device(CudaRuntime& runtime, int index, CudaLook look) {
  int count = 0;
  CudaStatus status = runtime.get_device_count(&count);
  if (status == CudaStatus::kSuccess && count == 0) status = CudaStatus::kNoDevice;
  if (status != CudaStatus::kSuccess) return without_count(runtime, status);
  if (index < 0 || index >= count) {
    return unusable(
        fmt::format("device.index is {}, but there {} (of those that CUDA_VISIBLE_DEVICES leaves); they count from 0",
                    index, count == 1 ? "is 1 GPU" : fmt::format("are {} GPUs", count)));
  }
  CudaDeviceInfo info;
  const std::string gpu = fmt::format("GPU {}", index);
  status = runtime.get_properties(index, &info.properties);
  if (status != CudaStatus::kSuccess) return unusable(runtime, status, "asking for the properties of " + gpu);
  const CudaProperties& found = info.properties;
  if (found.major < kOldestMajor) {
    return unusable(
        fmt::format("{} ({}) has compute capability {}.{}, and {}.0 or newer is needed: choose another "
                    "device.index, or set device.backend: host",
                    gpu, found.name, found.major, found.minor, kOldestMajor));
  }
  info.free_bytes = info.total_bytes = found.memory_bytes;
  if (look == CudaLook::kOpen) {
    status = runtime.set_device(index);
    if (status != CudaStatus::kSuccess) return unusable(runtime, status, "opening " + gpu);
    status = runtime.get_memory(&info.free_bytes, &info.total_bytes);
    if (status != CudaStatus::kSuccess) return unusable(runtime, status, "asking for the free memory of " + gpu);
  }
  for (const CudaStatus version :
       {runtime.get_driver_version(&info.driver_version), runtime.get_runtime_version(&info.runtime_version)}) {
    if (version != CudaStatus::kSuccess) return unusable(runtime, version, "asking for the version of the driver");
  }
  return {.info = info, .is_absent = false, .problem = {}};
}

}  // namespace penstock
