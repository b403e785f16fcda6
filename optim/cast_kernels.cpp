#include "optim/cast_kernels.h"

#include "core/check.h"

namespace penstock {
namespace {

PENSTOCK_INLINE_BODY void to_bfloat16_body(const float* __restrict from, bf16_bits* __restrict to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = bf16_from_float(from[i]);
}
PENSTOCK_INLINE_BODY void to_float_body(const bf16_bits* __restrict from, float* __restrict to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = float_from_bf16(from[i]);
}

#define PENSTOCK_CAST_VARIANT(name, target)                                         \
  target void to_bfloat16_##name(const float* from, bf16_bits* to, int64_t count) { \
    to_bfloat16_body(from, to, count);                                              \
  }                                                                                 \
  target void to_float_##name(const bf16_bits* from, float* to, int64_t count) { to_float_body(from, to, count); }

PENSTOCK_CAST_VARIANT(baseline, )
PENSTOCK_CAST_VARIANT(avx2, PENSTOCK_TARGET_AVX2)
PENSTOCK_CAST_VARIANT(avx512, PENSTOCK_TARGET_AVX512)
#undef PENSTOCK_CAST_VARIANT

}  // namespace

CastKernels cast_kernels(InstructionSet set) {
  CHECK(cpu_supports(set));
  switch (set) {
    case InstructionSet::kBaseline:
      return {to_bfloat16_baseline, to_float_baseline};
    case InstructionSet::kAvx2:
      return {to_bfloat16_avx2, to_float_avx2};
    case InstructionSet::kAvx512:
      return {to_bfloat16_avx512, to_float_avx512};
  }
  CHECK(false);
}

void cast_to_bfloat16(std::span<const float> from, std::span<bf16_bits> to) {
  CHECK_EQ(from.size(), to.size());
  cast_kernels(best_instruction_set()).to_bfloat16(from.data(), to.data(), static_cast<int64_t>(from.size()));
}

void cast_to_float(std::span<const bf16_bits> from, std::span<float> to) {
  CHECK_EQ(from.size(), to.size());
  cast_kernels(best_instruction_set()).to_float(from.data(), to.data(), static_cast<int64_t>(from.size()));
}

}  // namespace penstock
