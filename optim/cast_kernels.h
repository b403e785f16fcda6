// Casts between bf16 and fp32 over arrays: 6 bytes moved per element, with the widest instructions of the machine.
// To nearest even; NaN stays NaN, infinities and the sign of zero are kept. Integer work throughout, so that denormals
// are kept too, whatever the thread's floating-point mode: an fp32 denormal becomes the nearest bf16 denormal or zero.
#pragma once

#include <cstdint>
#include <span>

#include "core/bf16.h"
#include "optim/instruction_set.h"

namespace penstock {

// Both spans have one length (CHECKed) and do not overlap.
void cast_to_bfloat16(std::span<const float> from, std::span<bf16_bits> to);
void cast_to_float(std::span<const bf16_bits> from, std::span<float> to);

struct CastKernels {
  void (*to_bfloat16)(const float* from, bf16_bits* to, int64_t count);
  void (*to_float)(const bf16_bits* from, float* to, int64_t count);
};

// The machine must support `set`.
CastKernels cast_kernels(InstructionSet set);

}  // namespace penstock
