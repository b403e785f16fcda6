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
// cannot be used. With kOpen an explicit `cuda` must have a card that can: else Error(kDevice).
RunDevice choose_device(const DeviceSection& section, CudaLook look);

// Most device memory the run may use; UINT64_MAX: no limit is known.
uint64_t device_budget(const DeviceSection& section, const RunDevice& device);

// For what changes results and is decided by the device's size: the same on every start of a machine, whatever else the
// card's memory holds.
uint64_t stable_device_budget(const DeviceSection& section, const RunDevice& device);

// Of a card: device memory that is gone since choose_device(), whoever took it; and how often LibTorch had to stop the
// device to make room, which a plan that holds never does.
struct CardUse {
  uint64_t taken_bytes;
  int64_t stalls;
};
std::optional<CardUse> card_use(const DeviceSection& section, const RunDevice& device);

// Throws Error(kDevice) where the card cannot be used, Error(kIo) where its pinning cannot be probed.
std::unique_ptr<Device> open_device(const RunConfig& config, const RunDevice& device, const RunPlan& plan);

}  // namespace penstock
