// The 8-bit codes of `compact8` and their scales in vector lanes (compact8_kernels.h has what they mean).
// Included once per instruction set, after vector_lanes.h.

// Shifted to the mantissa's top, a code becomes the fp32 of its line under exponent field 128: 2.0, which has no bit in
// common with a code.
constexpr uint32_t kTwo = 0x40000000u;
constexpr uint32_t kMagnitudeMask = 0x7fu << 19;
constexpr uint32_t kCodeMask = 0xffu << 19;
constexpr float kFloorOffset = 1.875f;  // v's line; its smallest value is 2 - 1.875

// In units of the scale.
PENSTOCK_LANES F32 decode_m(U32 shifted, U32 sign) {
  const F32 magnitude = (F32)and_or(shifted, broadcast(kMagnitudeMask), broadcast(kTwo)) - broadcast(2.0f);
  return (F32)((U32)magnitude ^ (sign & 0x80000000u));
}
PENSTOCK_LANES F32 decode_v(U32 shifted) {
  return (F32)and_or(shifted, broadcast(kCodeMask), broadcast(kTwo)) - broadcast(kFloorOffset);
}

// The code in bits 19..26, the sign in the uppermost of them. Eight random bits are added where the code's last bit
// ends, and half of the lowest of them.
PENSTOCK_LANES U32 encode_m(F32 m, U32 random, F32 inverse_scale) {
  const U32 value = (U32)(m * inverse_scale);
  const U32 line = (U32)((F32)(value & 0x7fffffffu) + broadcast(2.0f));
  const U32 added = and_or(random >> 5, broadcast(0xffu << 11), broadcast(1u << 10));
  return select_bits(broadcast(1u << 26), value >> 5, line + added);
}
// Of these 19 random bits the upper eight are v's own. Those below, which only matter where the upper ones tie, are
// m's.
PENSTOCK_LANES U32 encode_v(F32 v, U32 random, F32 inverse_scale) {
  const F32 line = larger(v * inverse_scale + broadcast(kFloorOffset), broadcast(2.0f));
  return (U32)line + (random >> 13);
}

// Two lines' bits 19..26 as one 16-bit word in bits 11..26.
PENSTOCK_LANES U32 join_codes(U32 m, U32 v) { return select_bits(broadcast(kCodeMask), v, m >> 8); }

struct Scale {
  float value;
  float inverse;
};

// The power of two under which `largest` (its bits) comes to less than 1.875 * 2^top: the stochastic carry then stays
// within the code. From 2^-95 down the scale stays the same, so that inverses stay finite.
PENSTOCK_LANES Scale scale_for(uint32_t largest, uint32_t top) {
  if (largest < 0x00800000u) return {0.0f, 0.0f};
  const uint32_t bumped = (largest + 0x00100000u) >> 23;
  const uint32_t exponent = bumped < 32 ? 32 : bumped;
  return {__builtin_bit_cast(float, (exponent - top) << 23), __builtin_bit_cast(float, (254 + top - exponent) << 23)};
}
