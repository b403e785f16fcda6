// The device of a run: what `device.backend: auto` means on this machine, how much memory there is, and the device.
// Verbs that compute nothing work without a card.
#pragma once

#include <memory>
#include <optional>

#include "app/run_config.h"
#include "core/cuda/device_choice.h"
#include "core/device.h"
#include "model/maths.h"
#include "streaming/run_plan.h"

namespace penstock {

struct RunDevice {
  Backend backend = Backend::kHost;
  std::optional<CudaDeviceInfo> card;  // of a CUDA backend whose card can be used
};

// `auto` is the card where one can be used and nothing asks for the emulated device. Says so where a card is there that
// cannot be used. Never throws: an explicit `cuda` without a card is an error of open_device().
RunDevice choose_device(const DeviceSection& section);

// Most device memory the run may use; UINT64_MAX: no limit is known.
uint64_t device_budget(const DeviceSection& section, const RunDevice& device);

// Throws Error(kDevice) where the card cannot be used, Error(kIo) where its pinning cannot be probed.
std::unique_ptr<Device> open_device(const RunConfig& config, const RunDevice& device, const RunPlan& plan);

}  // namespace penstock
