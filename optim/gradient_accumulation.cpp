#include "optim/gradient_accumulation.h"

#include "core/check.h"

namespace penstock {
namespace {

PENSTOCK_INLINE_BODY float widen(bf16_bits bits) { return float_from_bf16(bits); }
PENSTOCK_INLINE_BODY float widen(float value) { return value; }

template <typename Value>
PENSTOCK_INLINE_BODY void add_body(const Value* __restrict values, float* __restrict sum, int64_t count) {
  for (int64_t i = 0; i < count; ++i) sum[i] += widen(values[i]);
}

#define PENSTOCK_ADD_VARIANT(name, target)                                 \
  template <typename Value>                                                \
  target void add_##name(const Value* values, float* sum, int64_t count) { \
    add_body(values, sum, count);                                          \
  }

PENSTOCK_ADD_VARIANT(baseline, )
PENSTOCK_ADD_VARIANT(avx2, PENSTOCK_TARGET_AVX2)
PENSTOCK_ADD_VARIANT(avx512, PENSTOCK_TARGET_AVX512)
#undef PENSTOCK_ADD_VARIANT

}  // namespace

AccumulationKernels accumulation_kernels(InstructionSet set) {
  CHECK(cpu_supports(set));
  switch (set) {
    case InstructionSet::kBaseline:
      return {add_baseline<bf16_bits>, add_baseline<float>};
    case InstructionSet::kAvx2:
      return {add_avx2<bf16_bits>, add_avx2<float>};
    case InstructionSet::kAvx512:
      return {add_avx512<bf16_bits>, add_avx512<float>};
  }
  CHECK(false);
}

void accumulate_gradient(std::span<const bf16_bits> values, std::span<float> sum) {
  CHECK_EQ(values.size(), sum.size());
  accumulation_kernels(best_instruction_set()).bfloat16(values.data(), sum.data(), static_cast<int64_t>(sum.size()));
}

void accumulate_gradient(std::span<const float> values, std::span<float> sum) {
  CHECK_EQ(values.size(), sum.size());
  accumulation_kernels(best_instruction_set()).float32(values.data(), sum.data(), static_cast<int64_t>(sum.size()));
}

}  // namespace penstock
