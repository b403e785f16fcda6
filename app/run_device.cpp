#include "app/run_device.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "core/bytes.h"
#include "core/check.h"
#include "core/cuda/cuda_device.h"
#include "core/cuda/linked_runtime.h"
#include "core/cuda/pin_probe.h"
#include "core/cuda/wsl.h"
#include "core/host_device.h"
#include "model/cuda_memory.h"

namespace penstock {
namespace {

constexpr const char* kNoCuda =
    "device.backend is cuda, and this build has no CUDA: build the preset release, or set device.backend: host";

// Whether the configuration sets what only the emulated device has.
bool asks_for_emulation(const DeviceSection& section) {
  return section.compute == ComputeMode::kPaced || section.h2d_gbps > 0 || section.d2h_gbps > 0 ||
         section.latency_us > 0;
}

// The memory that the user gives, of what there is.
uint64_t budget_of(const DeviceSection& section, uint64_t device_bytes) {
  uint64_t budget = UINT64_MAX;
  if (section.memory_gb > 0) budget = bytes_of_gib(section.memory_gb);
  if (device_bytes == UINT64_MAX) return budget;
  return std::min(budget, device_bytes - std::min(device_bytes, CudaDeviceOptions{}.reserve_bytes));
}

PinMode pin_mode(const RunConfig& config, const RunPlan& plan) {
  uint64_t all_bytes = 0, transfer_bytes = 0;
  for (const Buffer& buffer : plan.planner.buffers().all()) {
    if (on_device(buffer.kind)) continue;
    all_bytes += buffer.bytes;
    if (buffer.kind != BufferKind::kHostState) transfer_bytes += buffer.bytes;
  }
  ChildPinProbe probe("/proc/self/exe", static_cast<int>(config.device.index));
  const PinChoice choice = choose_pin_mode(config.memory.pin, is_wsl(), all_bytes, transfer_bytes, probe);
  if (!choice.notice.empty()) spdlog::warn(choice.notice);
  return choice.mode;
}

}  // namespace

RunDevice choose_device(const DeviceSection& section, CudaLook look) {
  if (section.backend == BackendChoice::kHost) return {};
  const bool is_asked_for = section.backend == BackendChoice::kCuda;
  if (!is_asked_for && asks_for_emulation(section)) return {};
  CudaRuntime* runtime = linked_cuda_runtime();
  const CudaDeviceChoice choice = runtime == nullptr
                                      ? CudaDeviceChoice{.is_absent = true, .problem = kNoCuda}
                                      : choose_cuda_device(*runtime, static_cast<int>(section.index), look);
  if (is_asked_for && !choice.info && look == CudaLook::kOpen) throw Error(ExitCode::kDevice, choice.problem);
  if (choice.info || is_asked_for) return {Backend::kCuda, choice.info};
  if (!choice.is_absent && look == CudaLook::kOpen) spdlog::warn("computing on the host: {}", choice.problem);
  return {};
}

uint64_t device_budget(const DeviceSection& section, const RunDevice& device) {
  return budget_of(section, device.card ? device.card->free_bytes : UINT64_MAX);
}

uint64_t stable_device_budget(const DeviceSection& section, const RunDevice& device) {
  return budget_of(section, device.card ? device.card->total_bytes : UINT64_MAX);
}

std::optional<CardUse> card_use(const DeviceSection& section, const RunDevice& device) {
  uint64_t free_bytes = 0, total_bytes = 0;
  if (!device.card || linked_cuda_runtime()->get_memory(&free_bytes, &total_bytes) != CudaStatus::kSuccess) return {};
  const uint64_t before = device.card->free_bytes;
  return CardUse{before - std::min(before, free_bytes), cuda_temporary_use(static_cast<int>(section.index)).stalls};
}

std::unique_ptr<Device> open_device(const RunConfig& config, const RunDevice& device, const RunPlan& plan) {
  const DeviceSection& section = config.device;
  if (device.backend == Backend::kHost) {
    return std::make_unique<HostDevice>(HostDeviceOptions{.budget_bytes = device_budget(section, device),
                                                          .h2d_gbps = section.h2d_gbps,
                                                          .d2h_gbps = section.d2h_gbps,
                                                          .latency_us = section.latency_us});
  }
  CudaRuntime* runtime = linked_cuda_runtime();
  CHECK(runtime != nullptr);  // choose_device() has refused
  CudaDeviceOptions options{.index = static_cast<int>(section.index),
                            .budget_bytes = device_budget(section, device),
                            .notice = [](const std::string& text) { spdlog::warn(text); }};
  options.pin = pin_mode(config, plan);
  return std::make_unique<CudaDevice>(*runtime, options);
}

}  // namespace penstock
