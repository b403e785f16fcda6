// The element loops of the gradient norm: sums of squares in double over contiguous elements.
// 2 or 4 bytes read per element. Element i of a block always adds into lane i mod 64, so the sum's order depends on
// the position in the block only: it vectorises, and skipping a run of zeros gives the same bits as adding them.
#pragma once

#include <array>
#include <cstdint>

#include "core/bf16.h"
#include "optim/instruction_set.h"

namespace penstock {

inline constexpr int kNormLanes = 64;
using NormLanes = std::array<double, kNormLanes>;

// Add the squares of elements [begin, end) of a block; return false if one of them is infinite or NaN.
struct NormKernels {
  bool (*bfloat16)(const bf16_bits* block, int64_t begin, int64_t end, NormLanes& lanes);
  bool (*float32)(const float* block, int64_t begin, int64_t end, NormLanes& lanes);
};

// The machine must support `set`.
NormKernels norm_kernels(InstructionSet set);

}  // namespace penstock
