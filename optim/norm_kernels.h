// The element loops of the gradient norm: sums of squares over contiguous elements, 2 or 4 bytes read per element.
// An element's lane depends on its position in the block only, and so does the order of the sums: it vectorises, and
// leaving out whole chunks of zeros gives the same bits as adding them.
//
// float32: the square of an fp32 is exact in double; element i adds into lane i mod 64.
// bfloat16: the square of a bf16 is exact in fp32. Of a chunk of 128 elements, those that are equal mod 32 are summed
// in fp32 and the sum is added to lane i mod 32 in double: a third of the work, at a relative error of at most 2e-7 a
// chunk. A chunk whose largest magnitude is outside of [2^-50, 2^60) has squares that fp32 cannot hold, and takes
// the way through double.
#pragma once

#include <array>
#include <cstdint>

#include "core/bf16.h"
#include "optim/instruction_set.h"

namespace penstock {

inline constexpr int kNormLanes = 64;
inline constexpr int64_t kNormChunk = 128;
using NormLanes = std::array<double, kNormLanes>;

// Add the squares of `count` elements, the first of which is on a chunk's border of its block; return false if one of
// them is infinite or NaN.
struct NormKernels {
  bool (*bfloat16)(const bf16_bits* values, int64_t count, NormLanes& lanes);
  bool (*float32)(const float* values, int64_t count, NormLanes& lanes);
};

// The machine must support `set`.
NormKernels norm_kernels(InstructionSet set);

}  // namespace penstock
