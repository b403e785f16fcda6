// The element loops of `compact`: AdamW in fp32 on a bf16 master and bf16 moments. 14 bytes moved per parameter
// (master 2+2, m 2+2, v 2+2, gradient 2): half of `exact`, so that here the arithmetic counts. Philox is a third of it.
// Not aware of tensors, blocks or threads. Results do not depend on how a range of elements is cut.
//
// Rounding on the way back: master and v stochastically (16 random bits are added below bf16's last bit and the sum is
// cut off, which is unbiased in the value), m to nearest, ties away from zero. A v of its smallest size would only
// shrink and never grow without that, as (1 - beta2) of it is less than half a bf16 step.
// Denormals follow the thread's floating-point mode where they are computed with; rounding itself is integer work.
#pragma once

#include <cstdint>

#include "core/bf16.h"
#include "optim/compact_scalars.h"
#include "optim/instruction_set.h"
#include "optim/rounding_source.h"

namespace penstock {

template <typename Gradient>
struct CompactRun {
  bf16_bits* master;
  bf16_bits* m;
  bf16_bits* v;
  const Gradient* gradient;
  int64_t count;
  uint64_t first_element;  // of the slab; a multiple of kScaleBlockElements
};

// Both return false if a new master has an exponent of all ones, before or after it is rounded.
template <typename Gradient>
using CompactKernel = bool (*)(const CompactRun<Gradient>& run, const CompactScalars& scalars,
                               const RoundingSource& source);

// For bf16_bits and float gradients. The machine must support `set`.
template <typename Gradient>
CompactKernel<Gradient> compact_kernel(InstructionSet set);

}  // namespace penstock
