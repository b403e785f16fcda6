// What CUDA asks for pinning host memory: seconds a GiB of memory that has been touched.
#pragma once

#include <cstdint>
#include <string>

#include "app/probe/turns.h"
#include "core/arena.h"
#include "core/cuda/cuda_device.h"

namespace penstock {

struct PinTimes {
  double seconds_per_gib = 0;
  std::string problem;  // why nothing was measured; else empty
};

// `options` as the device of a run has them; with PinMode::kStaged nothing is pinned, and the result says so.
// Throws Error(kDoesNotFit) where the memory is refused, Error(kDevice).
PinTimes measure_pinning(CudaRuntime& runtime, const CudaDeviceOptions& options, uint64_t bytes,
                         const TurnLimits& limits, const ArenaOptions& memory = {});

}  // namespace penstock
