#include "optim/norm_kernels.h"

#include <algorithm>
#include <bit>

#include "core/check.h"

namespace penstock {
namespace {

constexpr uint32_t kExponentMask = 0x7f800000u;

PENSTOCK_INLINE_BODY float widen(bf16_bits bits) { return float_from_bf16(bits); }
PENSTOCK_INLINE_BODY float widen(float value) { return value; }

// The square of an fp32 is exact in double, so only the sum rounds. The largest exponent field tells whether all values
// are finite: a maximum vectorises, an early exit does not.
PENSTOCK_INLINE_BODY void add_square(float value, double& sum, uint32_t& largest_exponent) {
  sum += static_cast<double>(value) * static_cast<double>(value);
  largest_exponent = std::max(largest_exponent, std::bit_cast<uint32_t>(value) & kExponentMask);
}

template <typename Element>
PENSTOCK_INLINE_BODY bool sum_body(const Element* __restrict block, int64_t begin, int64_t end,
                                   NormLanes& block_lanes) {
  const int64_t first_whole = std::min(end, (begin + kNormLanes - 1) / kNormLanes * kNormLanes);
  const int64_t last_whole = std::max(first_whole, end / kNormLanes * kNormLanes);
  uint32_t largest_exponent = 0;
  alignas(64) double lanes[kNormLanes];  // a local copy: no aliasing with the block
  std::copy(block_lanes.begin(), block_lanes.end(), lanes);

  for (int64_t i = begin; i < first_whole; ++i) add_square(widen(block[i]), lanes[i % kNormLanes], largest_exponent);
  for (int64_t i = first_whole; i < last_whole; i += kNormLanes) {
    for (int64_t lane = 0; lane < kNormLanes; ++lane) {
      add_square(widen(block[i + lane]), lanes[lane], largest_exponent);
    }
  }
  for (int64_t i = last_whole; i < end; ++i) add_square(widen(block[i]), lanes[i % kNormLanes], largest_exponent);

  std::copy(lanes, lanes + kNormLanes, block_lanes.begin());
  return largest_exponent != kExponentMask;
}

#define PENSTOCK_NORM_VARIANT(name, target)                                                           \
  target bool bfloat16_##name(const bf16_bits* block, int64_t begin, int64_t end, NormLanes& lanes) { \
    return sum_body(block, begin, end, lanes);                                                        \
  }                                                                                                   \
  target bool float32_##name(const float* block, int64_t begin, int64_t end, NormLanes& lanes) {      \
    return sum_body(block, begin, end, lanes);                                                        \
  }

PENSTOCK_NORM_VARIANT(baseline, )
PENSTOCK_NORM_VARIANT(avx2, PENSTOCK_TARGET_AVX2)
PENSTOCK_NORM_VARIANT(avx512, PENSTOCK_TARGET_AVX512)
#undef PENSTOCK_NORM_VARIANT

}  // namespace

NormKernels norm_kernels(InstructionSet set) {
  CHECK(cpu_supports(set));
  switch (set) {
    case InstructionSet::kBaseline:
      return {bfloat16_baseline, float32_baseline};
    case InstructionSet::kAvx2:
      return {bfloat16_avx2, float32_avx2};
    case InstructionSet::kAvx512:
      return {bfloat16_avx512, float32_avx512};
  }
  CHECK(false);
}

}  // namespace penstock
