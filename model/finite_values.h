// Which stored values are not finite, in their own bits: uint32_t is fp32, uint16_t is bf16.
#pragma once

#include <cstdint>
#include <span>
#include <type_traits>

namespace penstock {

// NaN and infinity have all ones in the exponent.
template <typename Bits>
constexpr bool is_finite(Bits bits) {
  static_assert(std::is_same_v<Bits, uint32_t> || std::is_same_v<Bits, uint16_t>);
  constexpr auto kExponent = static_cast<Bits>(sizeof(Bits) == sizeof(uint32_t) ? 0x7f800000u : 0x7f80u);
  return (bits & kExponent) != kExponent;
}

// No early end and one width throughout: the loop vectorises.
template <typename Bits>
bool all_finite(std::span<const Bits> values) {
  Bits bad = 0;
  for (const Bits value : values) bad |= static_cast<Bits>(is_finite(value) ? 0 : 1);
  return bad == 0;
}

}  // namespace penstock
