#include "optim/adamw_kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/check.h"

namespace penstock {
namespace {

constexpr uint32_t kExponentMask = 0x7f800000u;

// One parameter, in PyTorch's order of operations: lerp, mul + addcmul, sqrt / div / add, addcdiv.
PENSTOCK_INLINE_BODY float adamw_element(float master, float& m, float& v, float gradient, const AdamWScalars& s) {
  const float g = gradient * s.gradient_scale;
  const float decayed = master * s.decay_factor;
  m = m + s.one_minus_beta1 * (g - m);
  v = v * s.beta2 + s.one_minus_beta2 * g * g;
  const float denominator = std::sqrt(v) / s.bias2_sqrt + s.eps;
  return decayed - s.step_size * m / denominator;
}

// The flag is the largest exponent field seen: a maximum vectorises, an early exit does not.
PENSTOCK_INLINE_BODY bool exact_body(bf16_bits* __restrict hi, uint16_t* __restrict lo, float* __restrict m,
                                     float* __restrict v, const bf16_bits* __restrict gradient, int64_t count,
                                     const AdamWScalars& scalars) {
  const AdamWScalars s = scalars;  // a local copy: stores through m and v cannot change it
  uint32_t largest_exponent = 0;
  for (int64_t i = 0; i < count; ++i) {
    const float master = adamw_element(join_master(hi[i], lo[i]), m[i], v[i], float_from_bf16(gradient[i]), s);
    const MasterHalves halves = split_master(master);
    hi[i] = halves.hi;
    lo[i] = halves.lo;
    // hi is looked at too: rounding can carry a finite master to infinity, and a NaN to zero.
    const uint32_t master_exponent = std::bit_cast<uint32_t>(master) & kExponentMask;
    const uint32_t wire_exponent = (static_cast<uint32_t>(halves.hi) << 16) & kExponentMask;
    largest_exponent = std::max(largest_exponent, std::max(master_exponent, wire_exponent));
  }
  return largest_exponent != kExponentMask;
}

PENSTOCK_INLINE_BODY bool float32_body(float* __restrict master, float* __restrict m, float* __restrict v,
                                       const float* __restrict gradient, int64_t count, const AdamWScalars& scalars) {
  const AdamWScalars s = scalars;
  uint32_t largest_exponent = 0;
  for (int64_t i = 0; i < count; ++i) {
    master[i] = adamw_element(master[i], m[i], v[i], gradient[i], s);
    largest_exponent = std::max(largest_exponent, std::bit_cast<uint32_t>(master[i]) & kExponentMask);
  }
  return largest_exponent != kExponentMask;
}

#define PENSTOCK_ADAMW_VARIANT(name, target)                                                                          \
  target bool exact_##name(bf16_bits* hi, uint16_t* lo, float* m, float* v, const bf16_bits* gradient, int64_t count, \
                           const AdamWScalars& scalars) {                                                             \
    return exact_body(hi, lo, m, v, gradient, count, scalars);                                                        \
  }                                                                                                                   \
  target bool float32_##name(float* master, float* m, float* v, const float* gradient, int64_t count,                 \
                             const AdamWScalars& scalars) {                                                           \
    return float32_body(master, m, v, gradient, count, scalars);                                                      \
  }

PENSTOCK_ADAMW_VARIANT(baseline, )
PENSTOCK_ADAMW_VARIANT(avx2, PENSTOCK_TARGET_AVX2)
PENSTOCK_ADAMW_VARIANT(avx512, PENSTOCK_TARGET_AVX512)
#undef PENSTOCK_ADAMW_VARIANT

}  // namespace

AdamWKernels adamw_kernels(InstructionSet set) {
  CHECK(cpu_supports(set));
  switch (set) {
    case InstructionSet::kBaseline:
      return {exact_baseline, float32_baseline};
    case InstructionSet::kAvx2:
      return {exact_avx2, float32_avx2};
    case InstructionSet::kAvx512:
      return {exact_avx512, float32_avx512};
  }
  CHECK(false);
}

}  // namespace penstock
