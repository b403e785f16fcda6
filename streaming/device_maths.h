// The arithmetic that belongs to a device.
#pragma once

#include <memory>

#include "core/device.h"
#include "model/maths.h"

namespace penstock {

struct MathsOptions {
  int compute_threads = 1;     // LibTorch's, on the host device
  bool deterministic = false;  // on CUDA: attention's backward in a fixed order
};

// For a HostDevice or a CudaDevice, which outlives the result. `temporary_bytes`: what the plan has for LibTorch
// (DecoderBytes). Sets LibTorch's global numerics. Throws Error(kDevice).
std::unique_ptr<Maths> make_maths(Device& device, uint64_t temporary_bytes, const MathsOptions& options);

// After Maths::start(): a card's memory use then counts what LibTorch has taken.
void report_temporaries(Device& device);

}  // namespace penstock
