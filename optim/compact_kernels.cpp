#include "optim/compact_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "core/check.h"
#include "optim/rounding_source.h"

namespace penstock {
namespace {
#define PENSTOCK_LOOPS "optim/compact_loop.h"
#include "optim/each_instruction_set.h"
#undef PENSTOCK_LOOPS
}  // namespace

template <typename Gradient>
CompactKernel<Gradient> compact_kernel(InstructionSet set) {
  CHECK(cpu_supports(set));
  switch (set) {
    case InstructionSet::kBaseline:
      return baseline::update_compact<Gradient>;
    case InstructionSet::kAvx2:
      return avx2::update_compact<Gradient>;
    case InstructionSet::kAvx512:
      return avx512::update_compact<Gradient>;
  }
  CHECK(false);
}

template CompactKernel<bf16_bits> compact_kernel(InstructionSet set);
template CompactKernel<float> compact_kernel(InstructionSet set);

}  // namespace penstock
