// The arithmetic that belongs to a device.
#pragma once

#include <memory>

#include "core/device.h"
#include "model/maths.h"
#include "streaming/run_plan.h"

namespace penstock {

// For a HostDevice or a CudaDevice, which outlives the result: as `plan` says what LibTorch may take, on how many
// threads and whether in a fixed order. Sets LibTorch's global numerics. Throws Error(kDevice).
std::unique_ptr<Maths> make_maths(Device& device, const RunPlan& plan);

// After Maths::start(): a card's memory use then counts what LibTorch has taken.
void report_temporaries(Device& device);

}  // namespace penstock
