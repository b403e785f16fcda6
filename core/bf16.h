// bfloat16 conversions and the lossless split of an fp32 into two 16-bit halves.
//
// Two roundings, on purpose:
// - bf16_from_float rounds to nearest even: the one cast of gradients and activations.
// - split_master rounds half up, so that the high half *is* the bf16 weight that streams and a 16-bit remainder
//   rebuilds every fp32 pattern (nearest even would need a 33rd bit for the tie).
#pragma once

#include <bit>
#include <cstdint>

namespace penstock {

using bf16_bits = uint16_t;

constexpr float float_from_bf16(bf16_bits bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

// Round to nearest even; NaN stays NaN.
constexpr bf16_bits bf16_from_float(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<bf16_bits>((bits >> 16) | 0x0040u);
  return static_cast<bf16_bits>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

struct MasterHalves {
  bf16_bits hi;  // the wire weight
  uint16_t lo;   // the remainder
};

// master = (hi << 16) + int16(lo), in wrapping 32-bit arithmetic: exact for every pattern.
constexpr MasterHalves split_master(float master) {
  const uint32_t bits = std::bit_cast<uint32_t>(master);
  return {static_cast<bf16_bits>((bits + 0x8000u) >> 16), static_cast<uint16_t>(bits)};
}

constexpr float join_master(bf16_bits hi, uint16_t lo) {
  const uint32_t high = static_cast<uint32_t>(hi) << 16;
  return std::bit_cast<float>(high + static_cast<uint32_t>(static_cast<int32_t>(static_cast<int16_t>(lo))));
}

}  // namespace penstock
