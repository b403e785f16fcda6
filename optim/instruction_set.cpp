#include "optim/instruction_set.h"

namespace penstock {

bool cpu_supports(InstructionSet set) {
  switch (set) {
    case InstructionSet::kBaseline:
      return true;
#if defined(__x86_64__)
    case InstructionSet::kAvx2:
      return __builtin_cpu_supports("x86-64-v3") != 0;
    case InstructionSet::kAvx512:
      return __builtin_cpu_supports("x86-64-v4") != 0;
#else
    case InstructionSet::kAvx2:
    case InstructionSet::kAvx512:
      return false;
#endif
  }
  return false;
}

InstructionSet best_instruction_set() {
  static const InstructionSet best = [] {
    if (cpu_supports(InstructionSet::kAvx512)) return InstructionSet::kAvx512;
    return cpu_supports(InstructionSet::kAvx2) ? InstructionSet::kAvx2 : InstructionSet::kBaseline;
  }();
  return best;
}

}  // namespace penstock
