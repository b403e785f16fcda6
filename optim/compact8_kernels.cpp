#include "optim/compact8_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "core/check.h"
#include "optim/rounding_source.h"

namespace penstock {
namespace {
#define PENSTOCK_LOOPS "optim/compact8_loop.h"
#include "optim/each_instruction_set.h"
#undef PENSTOCK_LOOPS
}  // namespace

template <typename Gradient>
Compact8Kernel<Gradient> compact8_kernel(InstructionSet set) {
  CHECK(cpu_supports(set));
  switch (set) {
    case InstructionSet::kBaseline:
      return baseline::update_compact8<Gradient>;
    case InstructionSet::kAvx2:
      return avx2::update_compact8<Gradient>;
    case InstructionSet::kAvx512:
      return avx512::update_compact8<Gradient>;
  }
  CHECK(false);
}

template Compact8Kernel<bf16_bits> compact8_kernel(InstructionSet set);
template Compact8Kernel<float> compact8_kernel(InstructionSet set);

}  // namespace penstock
