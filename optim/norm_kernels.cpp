#include "optim/norm_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <bit>

#include "core/check.h"

namespace penstock {
namespace {

constexpr uint32_t kExponentMask = 0x7f800000u;

// Only the sum rounds. The largest exponent field tells whether all values are finite: a maximum vectorises, an early
// exit does not.
PENSTOCK_INLINE_BODY void add_square(float value, double& sum, uint32_t& largest_exponent) {
  sum += static_cast<double>(value) * static_cast<double>(value);
  largest_exponent = std::max(largest_exponent, std::bit_cast<uint32_t>(value) & kExponentMask);
}

PENSTOCK_INLINE_BODY bool float32_body(const float* __restrict values, int64_t count, NormLanes& block_lanes) {
  uint32_t largest_exponent = 0;
  alignas(64) double lanes[kNormLanes];  // a local copy: no aliasing with the values
  std::copy(block_lanes.begin(), block_lanes.end(), lanes);
  const int64_t last_whole = count / kNormLanes * kNormLanes;
  for (int64_t i = 0; i < last_whole; i += kNormLanes) {
    for (int64_t lane = 0; lane < kNormLanes; ++lane) add_square(values[i + lane], lanes[lane], largest_exponent);
  }
  for (int64_t i = last_whole; i < count; ++i) add_square(values[i], lanes[i % kNormLanes], largest_exponent);
  std::copy(lanes, lanes + kNormLanes, block_lanes.begin());
  return largest_exponent != kExponentMask;
}

#define PENSTOCK_NORM_VARIANT(name, target)                                          \
  target bool float32_##name(const float* values, int64_t count, NormLanes& lanes) { \
    return float32_body(values, count, lanes);                                       \
  }

PENSTOCK_NORM_VARIANT(baseline, )
PENSTOCK_NORM_VARIANT(avx2, PENSTOCK_TARGET_AVX2)
PENSTOCK_NORM_VARIANT(avx512, PENSTOCK_TARGET_AVX512)
#undef PENSTOCK_NORM_VARIANT

#define PENSTOCK_LOOPS "optim/norm_loop.h"
#include "optim/each_instruction_set.h"
#undef PENSTOCK_LOOPS

}  // namespace

NormKernels norm_kernels(InstructionSet set) {
  CHECK(cpu_supports(set));
  switch (set) {
    case InstructionSet::kBaseline:
      return {baseline::sum_squares, float32_baseline};
    case InstructionSet::kAvx2:
      return {avx2::sum_squares, float32_avx2};
    case InstructionSet::kAvx512:
      return {avx512::sum_squares, float32_avx512};
  }
  CHECK(false);
}

}  // namespace penstock
