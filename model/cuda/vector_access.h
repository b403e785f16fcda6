// Rows of fp32 or bf16 in chunks of 16 bytes: 4 or 8 elements. A chunk moves in one access where its address allows and
// the row has all of it, element by element otherwise; which elements a chunk has never depends on that, so neither do
// results.
// bf16 is rounded to nearest even. NaN stays NaN; its bits are core/bf16.h's on the host and 0x7fff on the card, whose
// own conversion is one instruction instead of six.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/bf16.h"
#include "core/check.h"
#include "model/cuda/block.h"

#ifdef __CUDACC__
#include <cuda_bf16.h>
#endif

namespace penstock {

PENSTOCK_KERNEL_CODE inline float widen(float value) { return value; }
PENSTOCK_KERNEL_CODE inline float widen(bf16_bits value) { return float_from_bf16(value); }

template <class T>
PENSTOCK_KERNEL_CODE T narrow(float value) {
  if constexpr (sizeof(T) == sizeof(float)) {
    return value;
  } else {
#ifdef __CUDACC__
    return __bfloat16_as_ushort(__float2bfloat16_rn(value));
#else
    return bf16_from_float(value);
#endif
  }
}

// The value as storing and loading it again would give it.
template <class T>
PENSTOCK_KERNEL_CODE float rounded(float value) {
  return widen(narrow<T>(value));
}

inline constexpr int64_t kChunkBytes = 16;
template <class T>
inline constexpr int kChunkElements = static_cast<int>(kChunkBytes / sizeof(T));

constexpr int64_t chunk_count(int64_t elements, int64_t chunk_elements) {
  return ceil_divide(elements, chunk_elements);
}

// `kCount` elements that move together; the alignment lets compilers use 16-byte accesses.
template <class T, int kCount = kChunkElements<T>>
struct alignas(kCount * sizeof(T) < kChunkBytes ? kCount * sizeof(T) : kChunkBytes) Chunk {
  T elements[kCount];

  PENSTOCK_KERNEL_CODE float value(int i) const { return widen(elements[i]); }
  PENSTOCK_KERNEL_CODE void set(int i, float value) { elements[i] = narrow<T>(value); }
};

template <class T, int kCount = kChunkElements<T>>
PENSTOCK_KERNEL_CODE bool is_aligned(const T* address) {
  return reinterpret_cast<uintptr_t>(address) % alignof(Chunk<T, kCount>) == 0;
}

#ifdef __CUDACC__
// The widest word a chunk moves in.
template <class ChunkType>
using MovedWord = std::conditional_t<alignof(ChunkType) == 16, uint4,
                                     std::conditional_t<alignof(ChunkType) == 8, uint2, unsigned short>>;

// One instruction each. Written out, because nvcc takes a store of a vector apart, merges some of the pieces with those
// of the path that stores element by element, and then stores two or four bytes at a time.
__device__ inline void store_word(uint4* to, const uint4& word) {
  asm volatile("st.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(word.x), "r"(word.y), "r"(word.z), "r"(word.w)
               : "memory");
}
__device__ inline void store_word(uint2* to, const uint2& word) {
  asm volatile("st.v2.u32 [%0], {%1, %2};" ::"l"(to), "r"(word.x), "r"(word.y) : "memory");
}
__device__ inline void store_word(unsigned short* to, unsigned short word) { *to = word; }
#endif

// The whole chunk at once, into registers and out of them.
template <class ChunkType, class T>
PENSTOCK_KERNEL_CODE void load_whole(ChunkType& chunk, const T* from) {
#ifdef __CUDACC__
  using Word = MovedWord<ChunkType>;
  PENSTOCK_UNROLL
  for (size_t i = 0; i < sizeof(ChunkType) / sizeof(Word); ++i) {
    reinterpret_cast<Word*>(chunk.elements)[i] = reinterpret_cast<const Word*>(from)[i];
  }
#else
  CHECK_EQ(reinterpret_cast<uintptr_t>(from) % alignof(ChunkType), 0u);  // a fault on the card
  std::memcpy(chunk.elements, from, sizeof(ChunkType));
#endif
}

template <class ChunkType, class T>
PENSTOCK_KERNEL_CODE void store_whole(T* to, const ChunkType& chunk) {
#ifdef __CUDACC__
  using Word = MovedWord<ChunkType>;
  PENSTOCK_UNROLL
  for (size_t i = 0; i < sizeof(ChunkType) / sizeof(Word); ++i) {
    store_word(reinterpret_cast<Word*>(to) + i, reinterpret_cast<const Word*>(chunk.elements)[i]);
  }
#else
  CHECK_EQ(reinterpret_cast<uintptr_t>(to) % alignof(ChunkType), 0u);
  std::memcpy(to, chunk.elements, sizeof(ChunkType));
#endif
}

// Elements [first, first + kCount) of a row; those from `end` on are zero.
template <class T, int kCount = kChunkElements<T>>
PENSTOCK_KERNEL_CODE Chunk<T, kCount> load_chunk(const T* row, int64_t first, int64_t end) {
  Chunk<T, kCount> chunk = {};
  if (first + kCount <= end && is_aligned<T, kCount>(row + first)) {
    load_whole(chunk, row + first);
    return chunk;
  }
  PENSTOCK_UNROLL
  for (int i = 0; i < kCount; ++i) {
    if (first + i < end) chunk.elements[i] = row[first + i];
  }
  return chunk;
}

template <class T, int kCount = kChunkElements<T>>
PENSTOCK_KERNEL_CODE void store_chunk(T* row, int64_t first, int64_t end, const Chunk<T, kCount>& chunk) {
  if (first + kCount <= end && is_aligned<T, kCount>(row + first)) {
    store_whole(row + first, chunk);
    return;
  }
  PENSTOCK_UNROLL
  for (int i = 0; i < kCount; ++i) {
    if (first + i < end) row[first + i] = chunk.elements[i];
  }
}

}  // namespace penstock
