// Lanes of one vector register, and the few operations on them that plain C++ vector arithmetic cannot say.
// Included once per instruction set by each_instruction_set.h, inside that set's namespace and target; hence no
// `#pragma once` and nothing from std. PENSTOCK_LANE_BYTES is the register's width: 16, 32 or 64.
// Every operation is exact or correctly rounded, so that results do not depend on the width.
#define PENSTOCK_LANES static inline __attribute__((always_inline))

typedef uint32_t U32 __attribute__((vector_size(PENSTOCK_LANE_BYTES)));
typedef int16_t I16 __attribute__((vector_size(PENSTOCK_LANE_BYTES)));
typedef int32_t I32 __attribute__((vector_size(PENSTOCK_LANE_BYTES)));
typedef uint64_t U64 __attribute__((vector_size(PENSTOCK_LANE_BYTES)));
typedef float F32 __attribute__((vector_size(PENSTOCK_LANE_BYTES)));

constexpr int kLanes = PENSTOCK_LANE_BYTES / 4;
// Sixteen-bit planes are read as 32-bit lanes that hold elements 2i and 2i + 1: one shift or one mask widens each half
// to fp32, where a load that widens needs a shuffle as well.
constexpr int kPairElements = 2 * kLanes;

struct PairF32 {
  F32 even;
  F32 odd;
};
struct PairU32 {
  U32 even;
  U32 odd;
};

PENSTOCK_LANES U32 broadcast(uint32_t value) { return value - U32{}; }
PENSTOCK_LANES F32 broadcast(float value) { return value - F32{}; }
PENSTOCK_LANES U64 broadcast(uint64_t value) { return value - U64{}; }

PENSTOCK_LANES U32 load_lanes(const void* from) {
  U32 lanes;
  __builtin_memcpy(&lanes, from, sizeof(lanes));
  return lanes;
}
PENSTOCK_LANES void store_lanes(void* to, U32 lanes) { __builtin_memcpy(to, &lanes, sizeof(lanes)); }

PENSTOCK_LANES I32 larger(I32 a, I32 b) { return a > b ? a : b; }
PENSTOCK_LANES I16 larger(I16 a, I16 b) { return a > b ? a : b; }
// The larger of a magnitude and that of `x`. As integers: a NaN is above infinity then, where AVX-512's own instruction
// would drop it.
PENSTOCK_LANES F32 larger_magnitude(F32 magnitude, F32 x) { return (F32)larger((I32)magnitude, (I32)x & 0x7fffffff); }

#if PENSTOCK_LANE_BYTES == 64
PENSTOCK_LANES U64 multiply_low_halves(U64 a, U64 b) {
  return (U64)_mm512_maskz_mul_epu32(0xff, (__m512i)a, (__m512i)b);
}
PENSTOCK_LANES U64 xor3(U64 a, U64 b, U64 c) {
  return (U64)_mm512_ternarylogic_epi64((__m512i)a, (__m512i)b, (__m512i)c, 0x96);
}
// (a where mask is 1) and (b where it is 0).
PENSTOCK_LANES U32 select_bits(U32 mask, U32 a, U32 b) {
  return (U32)_mm512_ternarylogic_epi32((__m512i)mask, (__m512i)a, (__m512i)b, 0xca);
}
PENSTOCK_LANES U32 and_or(U32 a, U32 mask, U32 b) {
  return (U32)_mm512_ternarylogic_epi32((__m512i)a, (__m512i)mask, (__m512i)b, 0xea);
}
PENSTOCK_LANES F32 square_root(F32 x) { return (F32)_mm512_maskz_sqrt_ps(0xffff, (__m512)x); }
// a > b ? a : b, as one instruction.
PENSTOCK_LANES F32 larger(F32 a, F32 b) { return (F32)_mm512_maskz_max_ps(0xffff, (__m512)a, (__m512)b); }
#else
PENSTOCK_LANES U64 xor3(U64 a, U64 b, U64 c) { return a ^ b ^ c; }
PENSTOCK_LANES U32 select_bits(U32 mask, U32 a, U32 b) { return (a & mask) | (b & ~mask); }
PENSTOCK_LANES U32 and_or(U32 a, U32 mask, U32 b) { return (a & mask) | b; }
#endif

#if PENSTOCK_LANE_BYTES == 32
PENSTOCK_LANES U64 multiply_low_halves(U64 a, U64 b) { return (U64)_mm256_mul_epu32((__m256i)a, (__m256i)b); }
PENSTOCK_LANES F32 square_root(F32 x) { return (F32)_mm256_sqrt_ps((__m256)x); }
PENSTOCK_LANES F32 larger(F32 a, F32 b) { return (F32)_mm256_max_ps((__m256)a, (__m256)b); }
#elif PENSTOCK_LANE_BYTES == 16 && defined(__x86_64__)
PENSTOCK_LANES U64 multiply_low_halves(U64 a, U64 b) { return (U64)_mm_mul_epu32((__m128i)a, (__m128i)b); }
PENSTOCK_LANES F32 square_root(F32 x) { return (F32)_mm_sqrt_ps((__m128)x); }
PENSTOCK_LANES F32 larger(F32 a, F32 b) { return (F32)_mm_max_ps((__m128)a, (__m128)b); }
#elif PENSTOCK_LANE_BYTES == 16
PENSTOCK_LANES U64 multiply_low_halves(U64 a, U64 b) { return (a & 0xffffffffu) * (b & 0xffffffffu); }
PENSTOCK_LANES F32 square_root(F32 x) {
  for (int i = 0; i < kLanes; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
}
PENSTOCK_LANES F32 larger(F32 a, F32 b) { return a > b ? a : b; }
#endif

// The largest of all lower 16-bit halves, and of all upper ones; they are compared with their sign.
PENSTOCK_LANES uint32_t largest_halves(U32 lanes) {
#if PENSTOCK_LANE_BYTES == 64
  constexpr U32 kIndex = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#elif PENSTOCK_LANE_BYTES == 32
  constexpr U32 kIndex = {0, 1, 2, 3, 4, 5, 6, 7};
#else
  constexpr U32 kIndex = {0, 1, 2, 3};
#endif
#pragma GCC unroll 4
  for (uint32_t distance = kLanes / 2; distance > 0; distance /= 2) {
    lanes = (U32)larger((I16)lanes, (I16)__builtin_shuffle(lanes, kIndex ^ distance));
  }
  return lanes[0];
}
