// Casts and fp32 accumulation of flat arrays. 6 bytes moved per element of a cast, 10 or 12 of an accumulation, and
// next to no arithmetic: bound by memory, the goal is 80% of peak bandwidth.
// A thread moves two chunks of four elements: 16 bytes of fp32 beside 8 of bf16, so that neighbouring lanes touch
// neighbouring bytes on both sides. At 2,048 threads a multiprocessor has 32 KiB (from bf16) or 64 KiB of reads under
// way. An H200 with 4.8 TB/s over 132 of them, a third or two of it reads, needs 10 or 19 KB at 800 ns of latency.
#pragma once

#include "model/cuda/vector_access.h"

namespace penstock {

inline constexpr int kCastChunk = 4;
inline constexpr int kCastChunks = 2;  // of a thread

// The first element of a thread's `chunk`.
template <class Block>
PENSTOCK_KERNEL_CODE int64_t first_to_cast(const Block& block, int chunk) {
  return ((block.block() * kCastChunks + chunk) * block.threads() + block.thread()) * kCastChunk;
}

// to[i] = from[i].
template <class From, class To>
struct CastKernel {
  const From* from;
  To* to;
  int64_t count;

  template <class Block>
  PENSTOCK_KERNEL_CODE void operator()(Block& block) const {
    Chunk<From, kCastChunk> values[kCastChunks];
    PENSTOCK_UNROLL
    for (int c = 0; c < kCastChunks; ++c)
      values[c] = load_chunk<From, kCastChunk>(from, first_to_cast(block, c), count);
    PENSTOCK_UNROLL
    for (int c = 0; c < kCastChunks; ++c) {
      Chunk<To, kCastChunk> cast;
      PENSTOCK_UNROLL
      for (int i = 0; i < kCastChunk; ++i) cast.set(i, values[c].value(i));
      store_chunk(to, first_to_cast(block, c), count, cast);
    }
  }
};

// to[i] += from[i].
template <class From>
struct AddKernel {
  const From* from;
  float* to;
  int64_t count;

  template <class Block>
  PENSTOCK_KERNEL_CODE void operator()(Block& block) const {
    Chunk<From, kCastChunk> added[kCastChunks];
    Chunk<float> sums[kCastChunks];
    PENSTOCK_UNROLL
    for (int c = 0; c < kCastChunks; ++c) {
      added[c] = load_chunk<From, kCastChunk>(from, first_to_cast(block, c), count);
      sums[c] = load_chunk(to, first_to_cast(block, c), count);
    }
    PENSTOCK_UNROLL
    for (int c = 0; c < kCastChunks; ++c) {
      PENSTOCK_UNROLL
      for (int i = 0; i < kCastChunk; ++i) sums[c].elements[i] += added[c].value(i);
      store_chunk(to, first_to_cast(block, c), count, sums[c]);
    }
  }
};

}  // namespace penstock
