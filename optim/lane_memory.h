// bf16 and fp32 arrays into pairs of fp32 lanes (even elements, odd elements) and back.
// Included once per instruction set, after vector_lanes.h.

PENSTOCK_LANES PairF32 widen_halves(U32 halves) { return {(F32)(halves << 16), (F32)(halves & 0xffff0000u)}; }

PENSTOCK_LANES PairF32 load_pair(const uint16_t* from) { return widen_halves(load_lanes(from)); }

PENSTOCK_LANES PairF32 load_pair(const float* from) {
  const U32 low = load_lanes(from);
  const U32 high = load_lanes(from + kLanes);
#if PENSTOCK_LANE_BYTES == 64
  const U32 even = {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30};
#elif PENSTOCK_LANE_BYTES == 32
  const U32 even = {0, 2, 4, 6, 8, 10, 12, 14};
#else
  const U32 even = {0, 2, 4, 6};
#endif
  return {(F32)__builtin_shuffle(low, high, even), (F32)__builtin_shuffle(low, high, even + 1)};
}

// The upper halves of both; whatever is below them is cut off.
PENSTOCK_LANES U32 join_upper_halves(PairU32 bits) {
  return select_bits(broadcast(0xffff0000u), bits.odd, bits.even >> 16);
}

// Where the next iterations will read. Each takes long enough for the out-of-order window to end before a line from
// memory arrives, and the hardware's prefetcher alone leaves `compact` at half of its speed.
constexpr int64_t kPrefetchBytes = 2048;
PENSTOCK_LANES void prefetch_ahead(const void* address) {
  __builtin_prefetch(static_cast<const char*>(address) + kPrefetchBytes);
}
