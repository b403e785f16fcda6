// The element loops of `compact8`: AdamW in fp32 on a bf16 master and 8-bit moments. 10.1 bytes moved per parameter
// (master 2+2, m 1+1, v 1+1, gradient 2, scales 16 per block of 128 elements).
// Not aware of tensors or threads. Results do not depend on how a range of whole blocks is cut.
//
// A moment is a code of 4 bits after the leading one behind an exponent, on a line that starts at an offset instead of
// at zero (as mu-law does), times its block's scale, a power of two:
//   |m| / scale = (1 + c / 16) 2^(e+1) - 2       bit 7 the sign, bits 4..6 e, bits 0..3 c
//    v  / scale = (1 + c / 16) 2^(e+1) - 1.875   bits 4..7 e, bits 0..3 c
// Steps are 1/32 to 1/16 of the value, and a constant 1/8 of the scale near zero: m reaches down to 1/3840 of the
// block's largest, v to one in 980,000 (sqrt(v): 1/990). The scale is chosen anew in every update from the block's
// largest value, so that this one is among the top codes; 0 if that is zero or denormal.
//
// Between two codes values lie on a straight line, so adding random bits (8 of them, and half of the last one) below a
// code's last bit and cutting off is unbiased to 1/512 of a step. One exception: v has no code for zero. The smallest
// one means 1/8 of the scale, and smaller values are raised to it: a v that became zero beside an m that did not would
// make m / (sqrt(v) + eps) explode. The bias only shortens steps, of elements whose gradients are 1/990 of the block's
// largest or less; a block of zeros stays zero (its scale is).
#pragma once

#include <cstdint>

#include "core/bf16.h"
#include "optim/compact_scalars.h"
#include "optim/instruction_set.h"
#include "optim/rounding_source.h"
#include "optim/state_planes.h"

namespace penstock {

template <typename Gradient>
struct Compact8Run {
  bf16_bits* master;
  uint16_t* moments;     // one word an element: m's code below, v's above
  MomentScales* scales;  // of the block at `first_element` and those behind it
  const Gradient* gradient;
  int64_t count;
  uint64_t first_element;  // of the slab; a multiple of kScaleBlockElements
};

// Returns false if a new master has an exponent of all ones, before or after it is rounded, or a new v does: its block
// could not be updated any more.
template <typename Gradient>
using Compact8Kernel = bool (*)(const Compact8Run<Gradient>& run, const CompactScalars& scalars,
                                const RoundingSource& source);

// For bf16_bits and float gradients. The machine must support `set`.
template <typename Gradient>
Compact8Kernel<Gradient> compact8_kernel(InstructionSet set);

}  // namespace penstock
