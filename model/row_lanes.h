// Sixteen fp32 lanes for the row kernels of the decoder, over fp32 and bf16 rows.
// Not tied to an instruction set: the compiler lowers the vectors to whatever a clone of the kernel may use, and since
// lane order, tail handling and every expression are fixed, the result is the same on each of them.
// Operands are passed by reference: passing vectors by value has no stable ABI below AVX-512.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/bf16.h"

// A kernel in three versions, picked when the program starts.
#ifdef __SANITIZE_THREAD__
#define PENSTOCK_ROW_KERNEL  // the clones' resolvers run before the thread sanitizer does, and would crash in it
#else
#define PENSTOCK_ROW_KERNEL __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif
// Parts of a kernel have to be inlined to be compiled for its instruction set.
#define PENSTOCK_LANES_INLINE [[gnu::always_inline]] inline

namespace penstock::lanes {

// Every function below is inlined, so how it would return a vector does not matter.
#pragma GCC diagnostic ignored "-Wpsabi"

inline constexpr int64_t kLaneCount = 16;
using Float16 = float __attribute__((vector_size(64)));
using Bits16 = uint32_t __attribute__((vector_size(64)));
using Half16 = bf16_bits __attribute__((vector_size(32)));

PENSTOCK_LANES_INLINE Float16 splat(float value) { return Float16{} + value; }

PENSTOCK_LANES_INLINE Float16 load(const float* from) {
  Float16 values;
  std::memcpy(&values, from, sizeof values);
  return values;
}

PENSTOCK_LANES_INLINE Float16 load(const bf16_bits* from) {
  Half16 halves;
  std::memcpy(&halves, from, sizeof halves);
  const Bits16 bits = __builtin_convertvector(halves, Bits16) << 16;
  return (Float16)bits;
}

PENSTOCK_LANES_INLINE void store(float* to, const Float16& values) { std::memcpy(to, &values, sizeof values); }

// Nearest even, NaN stays NaN: bf16_from_float on sixteen lanes.
PENSTOCK_LANES_INLINE void store(bf16_bits* to, const Float16& values) {
  const Bits16 bits = (Bits16)values;
  const Bits16 rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const Bits16 quiet = (bits >> 16) | 0x40u;
  const Bits16 chosen = (bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded;
  const Half16 halves = __builtin_convertvector(chosen, Half16);
  std::memcpy(to, &halves, sizeof halves);
}

// The last `count` < 16 elements of a row; missing lanes are zero.
template <typename T>
PENSTOCK_LANES_INLINE Float16 load_tail(const T* from, int64_t count) {
  T padded[kLaneCount] = {};
  std::memcpy(padded, from, static_cast<size_t>(count) * sizeof(T));
  return load(padded);
}

template <typename T>
PENSTOCK_LANES_INLINE void store_tail(T* to, const Float16& values, int64_t count) {
  T padded[kLaneCount];
  store(padded, values);
  std::memcpy(to, padded, static_cast<size_t>(count) * sizeof(T));
}

// Calls part(first, load, store) over a row of `count` elements, sixteen at a time, then once for the tail.
// `part(i, read, write)`: read(pointer) gives the lanes at pointer[i...], write(pointer, lanes) puts them there.
template <typename Part>
PENSTOCK_LANES_INLINE void for_row(int64_t count, const Part& part) {
  int64_t i = 0;
  for (; i + kLaneCount <= count; i += kLaneCount) {
    part(
        [i](const auto* row) __attribute__((always_inline)) { return load(row + i); },
        [i](auto* row, const Float16& values) __attribute__((always_inline)) { store(row + i, values); });
  }
  if (const int64_t rest = count - i; rest > 0) {
    part(
        [ i, rest ](const auto* row) __attribute__((always_inline)) { return load_tail(row + i, rest); },
        [ i, rest ](auto* row, const Float16& values)
            __attribute__((always_inline)) { store_tail(row + i, values, rest); });
  }
}

// Sum of the lanes in one fixed order.
PENSTOCK_LANES_INLINE float sum(const Float16& values) {
  float total = 0;
  for (int64_t lane = 0; lane < kLaneCount; ++lane) total += values[lane];
  return total;
}

PENSTOCK_LANES_INLINE Float16 maximum(const Float16& a, const Float16& b) { return a > b ? a : b; }
PENSTOCK_LANES_INLINE Float16 minimum(const Float16& a, const Float16& b) { return a < b ? a : b; }

PENSTOCK_LANES_INLINE float maximum(const Float16& values) {
  float largest = values[0];
  for (int64_t lane = 1; lane < kLaneCount; ++lane) largest = values[lane] > largest ? values[lane] : largest;
  return largest;
}

// e^x to about 1 ulp inside [-87, 88], clamped outside; NaN stays NaN.
// x = n ln2 + r with |r| <= ln2/2, and e^r by its Taylor series to the seventh power (remainder 5e-9).
PENSTOCK_LANES_INLINE Float16 exponential(const Float16& x) {
  constexpr float kLowest = -87.0f, kHighest = 88.0f, kLog2e = 1.44269504f;
  constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;  // n * high is exact
  constexpr float kRound = 12582912.0f;                                // 1.5 * 2^23: adding it rounds to an integer
  const Float16 above = x < kLowest ? splat(kLowest) : x;
  const Float16 clamped = above > kHighest ? splat(kHighest) : above;
  const Float16 shifted = clamped * kLog2e + kRound;
  const Float16 n = shifted - kRound;
  const Float16 r = (clamped - n * kLn2High) - n * kLn2Low;
  Float16 series = splat(1.0f / 5040) * r + 1.0f / 720;
  series = series * r + 1.0f / 120;
  series = series * r + 1.0f / 24;
  series = series * r + 1.0f / 6;
  series = series * r + 0.5f;
  const Float16 e_r = (series * r) * r + r + 1.0f;
  const Bits16 scaled = (Bits16)e_r + ((Bits16)shifted << 23);
  return e_r == e_r ? (Float16)scaled : e_r;
}

}  // namespace penstock::lanes
