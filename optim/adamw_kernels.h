// The element loops of AdamW in `exact` and `float32`: one pass over contiguous elements, 26 bytes moved per parameter
// in `exact` (hi 2+2, lo 2+2, m 4+4, v 4+4, gradient 2), 28 in `float32`; the other gradient type 2 more or less.
// Not aware of tensors, blocks or threads. Arrays may not overlap and need no alignment beyond their element's.
#pragma once

#include <cstdint>

#include "core/bf16.h"
#include "optim/instruction_set.h"

namespace penstock {

// The step's numbers in the order the loop uses them; derived in double and rounded once.
struct AdamWScalars {
  float gradient_scale;
  float decay_factor;  // 1 - lr * decay; 1 on tensors that do not decay
  float one_minus_beta1;
  float beta2;
  float one_minus_beta2;
  float bias2_sqrt;  // sqrt(1 - beta2^t)
  float eps;
  float step_size;  // lr / (1 - beta1^t)
};

// Both return false if a new master or its wire weight has an exponent of all ones.
template <typename Gradient>
struct AdamWKernels {
  bool (*exact)(bf16_bits* hi, uint16_t* lo, float* m, float* v, const Gradient* gradient, int64_t count,
                const AdamWScalars& scalars);
  bool (*float32)(float* master, float* m, float* v, const Gradient* gradient, int64_t count,
                  const AdamWScalars& scalars);
};

// For bf16_bits and float gradients. The machine must support `set`.
template <typename Gradient>
AdamWKernels<Gradient> adamw_kernels(InstructionSet set);

}  // namespace penstock
