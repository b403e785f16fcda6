// Which vector instructions the element loops may use. Each loop is compiled once per set and picked at run time.
// Invariant: every set gives the same bits; tests compare them all.
#pragma once

#include <cstdint>
#include <string_view>

namespace penstock {

enum class InstructionSet : uint8_t { kBaseline, kAvx2, kAvx512 };
inline constexpr int kInstructionSetCount = 3;

constexpr std::string_view instruction_set_name(InstructionSet set) {
  constexpr std::string_view kNames[kInstructionSetCount] = {"baseline", "avx2", "avx512"};
  return kNames[static_cast<int>(set)];
}

bool cpu_supports(InstructionSet set);
// The widest one of this machine.
InstructionSet best_instruction_set();

}  // namespace penstock

// Function attributes of the variants: x86-64 psABI levels 3 and 4. Elsewhere only the baseline exists.
#if defined(__x86_64__)
#define PENSTOCK_TARGET_AVX2 __attribute__((target("arch=x86-64-v3")))
#define PENSTOCK_TARGET_AVX512 __attribute__((target("arch=x86-64-v4")))
#else
#define PENSTOCK_TARGET_AVX2
#define PENSTOCK_TARGET_AVX512
#endif
// Loop bodies are inlined into each variant and take its instruction set.
#define PENSTOCK_INLINE_BODY static inline __attribute__((always_inline))
