// Adds a group's gradient values into the fp32 host gradient: 10 bytes moved per element from bf16, 12 from fp32.
// One addition per element in fp32, so that the result does not depend on instruction set or cuts. Denormals follow the
// thread's floating-point mode.
#pragma once

#include <cstdint>
#include <span>

#include "core/bf16.h"
#include "optim/instruction_set.h"

namespace penstock {

// sum[i] += values[i]. Both spans have one length (CHECKed) and do not overlap.
void accumulate_gradient(std::span<const bf16_bits> values, std::span<float> sum);
void accumulate_gradient(std::span<const float> values, std::span<float> sum);

struct AccumulationKernels {
  void (*bfloat16)(const bf16_bits* values, float* sum, int64_t count);
  void (*float32)(const float* values, float* sum, int64_t count);
};

// The machine must support `set`.
AccumulationKernels accumulation_kernels(InstructionSet set);

}  // namespace penstock
