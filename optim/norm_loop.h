// The loop of the norm of bf16 gradients (norm_kernels.h). Included once per instruction set.

constexpr int kChunk = static_cast<int>(kNormChunk);
constexpr int kSumLanes = 32;
constexpr int kSumPairs = kSumLanes / kPairElements;

// As bits without sign: 2^-50 and 2^60.
constexpr uint32_t kSmallest = (127 - 50) << 7;
constexpr uint32_t kTooLarge = (127 + 60) << 7;

struct NormSums {
  // In the order of registers: pairs, then even and odd, then lanes.
  double lanes[kSumLanes];
  I16 largest{};
};

// The element, mod 32, that register order has at `index`.
constexpr int element_at(int index) {
  const int pair = index / kPairElements;
  const int is_odd = index / kLanes % 2;
  return pair * kPairElements + 2 * (index % kLanes) + is_odd;
}

PENSTOCK_LANES void add_in_double(const bf16_bits* chunk, NormSums& sums) {
  for (int row = 0; row < kChunk; row += kSumLanes) {
    for (int i = 0; i < kSumLanes; ++i) {
      const uint32_t bits = static_cast<uint32_t>(chunk[row + element_at(i)]) << 16;
      const auto value = static_cast<double>(__builtin_bit_cast(float, bits));
      sums.lanes[i] += value * value;
    }
  }
}

PENSTOCK_LANES void add_chunk(const bf16_bits* chunk, NormSums& sums) {
  PairF32 squares[kSumPairs] = {};
  I16 largest{};
  for (int row = 0; row < kChunk; row += kSumLanes) {
    for (int i = 0; i < kSumPairs; ++i) {
      const U32 halves = load_lanes(chunk + row + i * kPairElements);
      const PairF32 values = widen_halves(halves);
      squares[i].even += values.even * values.even;
      squares[i].odd += values.odd * values.odd;
      largest = larger(largest, (I16)(halves & 0x7fff7fffu));
    }
  }
  sums.largest = larger(sums.largest, largest);
  const uint32_t halves = largest_halves((U32)largest);
  const uint32_t bits = (halves >> 16) > (halves & 0xffffu) ? halves >> 16 : halves & 0xffffu;
  if (bits == 0) return;
  if (bits < kSmallest || bits >= kTooLarge) {
    add_in_double(chunk, sums);
    return;
  }
  float values[kSumLanes];
  __builtin_memcpy(values, squares, sizeof(values));
  for (int i = 0; i < kSumLanes; ++i) sums.lanes[i] += static_cast<double>(values[i]);
}

bool sum_squares(const bf16_bits* values, int64_t count, NormLanes& lanes) {
  NormSums sums;
  for (int i = 0; i < kSumLanes; ++i) sums.lanes[i] = lanes.data()[element_at(i)];
  int64_t at = 0;
  for (; at + kChunk <= count; at += kChunk) {
    prefetch_ahead(values + at);
    prefetch_ahead(values + at + kChunk / 4);
    prefetch_ahead(values + at + kChunk / 2);
    prefetch_ahead(values + at + kChunk / 4 * 3);
    add_chunk(values + at, sums);
  }
  if (at < count) {
    bf16_bits tail[kChunk] = {};
    __builtin_memcpy(tail, values + at, static_cast<size_t>(count - at) * sizeof(bf16_bits));
    add_chunk(tail, sums);
  }
  for (int i = 0; i < kSumLanes; ++i) lanes.data()[element_at(i)] = sums.lanes[i];
  const uint32_t halves = largest_halves((U32)sums.largest);
  return (halves & 0xffffu) < 0x7f80u && (halves >> 16) < 0x7f80u;
}
