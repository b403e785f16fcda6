// One row shared by a block's threads, which keep their chunks of it in registers between two passes. Thread t has the
// chunks t, t + threads, ...; those beyond what a thread can hold are read again, from the cache as a rule.
#pragma once

#include "model/cuda/vector_access.h"

namespace penstock {

// 16 elements a thread: rows of up to 4,096 elements are held whole by 256 threads. Twice as many need so many
// registers that the compiler spills them.
template <class T>
inline constexpr int kHeldChunks = 16 / kChunkElements<T>;

// part(index, first element) for every chunk of this thread; index kHeldChunks<T> stands for all that are not held.
template <class T, class Block, class Part>
PENSTOCK_KERNEL_CODE void for_chunks(const Block& block, int64_t width, const Part& part) {
  const int64_t stride = int64_t{block.threads()} * kChunkElements<T>;
  int64_t first = int64_t{block.thread()} * kChunkElements<T>;
  PENSTOCK_UNROLL
  for (int index = 0; index < kHeldChunks<T>; ++index, first += stride) {
    if (first < width) part(index, first);
  }
  for (; first < width; first += stride) part(kHeldChunks<T>, first);
}

template <class T>
class HeldRow {
 public:
  template <class Block>
  PENSTOCK_KERNEL_CODE HeldRow(const Block& block, const T* row, int64_t width) : row_(row), width_(width) {
    const int64_t stride = int64_t{block.threads()} * kChunkElements<T>;
    int64_t first = int64_t{block.thread()} * kChunkElements<T>;
    PENSTOCK_UNROLL
    for (int index = 0; index < kHeldChunks<T>; ++index, first += stride) {
      if (first < width) held_[index] = load_chunk(row, first, width);
    }
  }

  PENSTOCK_KERNEL_CODE Chunk<T> chunk(int index, int64_t first) const {
    return index < kHeldChunks<T> ? held_[index] : load_chunk(row_, first, width_);
  }

 private:
  const T* row_;
  int64_t width_;
  Chunk<T> held_[kHeldChunks<T>];
};

}  // namespace penstock
