// What the cross-entropy kernels do with one row of logits, by one block: its maximum and sum of exponentials in a
// single reading, and its gradient in a single rewriting.
// A thread takes every threads'th chunk of 16 bytes, whatever the row's address, so the order of sums depends on the
// number of threads only. Rows whose bytes are no multiple of 16 lie askew; they move element by element.
// Exponents are logits less their row's maximum: the quick exponential is then wrong by at most 3e-7 of the largest
// term, 1, and far below the maximum it is 0.
#pragma once

#include <cfloat>
#include <cmath>
#include <type_traits>

#include "model/cuda/block_reduce.h"
#include "model/cuda/special_functions.h"
#include "model/cuda/vector_access.h"

namespace penstock {

// Sum of e^(logit - maximum). With no logits, or only -inf: the lowest number instead of -inf, so that nowhere does
// infinity minus infinity arise, and a sum of 0.
struct ExponentialSum {
  float maximum = -FLT_MAX;
  float sum = 0;
};

// Calls work(first, chunk, is_whole) for this thread's chunks of a row, in order. is_whole is std::true_type, or
// std::false_type for chunks that may lack elements from `count` on; those are zero then.
// Four loads are under way at a time: 64 bytes a thread. The 768 threads that fit a multiprocessor at 72 registers have
// 48 KiB under way, more than the 29 KB that 4.8 TB/s over 132 of them need at 800 ns of latency.
template <class T, class Block, class Work>
PENSTOCK_KERNEL_CODE void for_loaded_chunks(const Block& block, const T* row, int64_t count, const Work& work) {
  constexpr int kAtOnce = 4;
  const int64_t stride = int64_t{block.threads()} * kChunkElements<T>;
  int64_t first = int64_t{block.thread()} * kChunkElements<T>;
  if (is_aligned(row)) {
    for (; first + (kAtOnce - 1) * stride + kChunkElements<T> <= count; first += kAtOnce * stride) {
      Chunk<T> chunks[kAtOnce];
      PENSTOCK_UNROLL
      for (int c = 0; c < kAtOnce; ++c) chunks[c] = *reinterpret_cast<const Chunk<T>*>(row + first + c * stride);
      PENSTOCK_UNROLL
      for (int c = 0; c < kAtOnce; ++c) work(first + c * stride, chunks[c], std::true_type{});
    }
  }
  for (; first < count; first += stride) work(first, load_chunk(row, first, count), std::false_type{});
}

// A NaN among the logits, or +inf, makes the sum NaN.
template <class T>
PENSTOCK_KERNEL_CODE void add_chunk(const Chunk<T>& chunk, ExponentialSum& total) {
  constexpr int kElements = kChunkElements<T>;
  float largest = total.maximum, sum = 0;
  PENSTOCK_UNROLL
  for (int i = 0; i < kElements; ++i) largest = fmaxf(largest, chunk.value(i));  // passes over NaN, the sum does not
  if (largest > total.maximum) {
    total.sum *= quick_exponential(total.maximum - largest);
    total.maximum = largest;
  }
  PENSTOCK_UNROLL
  for (int i = 0; i < kElements; ++i) sum += quick_exponential(chunk.value(i) - largest);
  total.sum += sum;
}

// Of the whole row, for every thread. Two barriers: what a thread read of the row before may be overwritten after.
template <class T, class Block>
PENSTOCK_KERNEL_CODE ExponentialSum row_exponential_sum(Block& block, BlockReduction<Block, float>& reduction,
                                                        const T* logits, int64_t vocab) {
  constexpr int kElements = kChunkElements<T>;
  ExponentialSum own;
  for_loaded_chunks(block, logits, vocab, [&own, vocab](int64_t first, Chunk<T> chunk, auto is_whole) {
    PENSTOCK_UNROLL
    for (int i = 0; i < kElements; ++i) {  // what is missing must not count as a logit of zero
      if (!is_whole && first + i >= vocab) chunk.set(i, -INFINITY);
    }
    add_chunk(chunk, own);
  });
  const float maximum = reduction.largest(own.maximum);
  return {maximum, reduction.sum(own.sum * quick_exponential(own.maximum - maximum))};
}

// The logits become e^(logit - maximum) * share_scale, the target's less `scale` and rounded once. A target outside
// [0, vocab) is none of this row's.
template <class T, class Block>
PENSTOCK_KERNEL_CODE void write_row_gradient(const Block& block, T* logits, int64_t vocab, float maximum,
                                             float share_scale, int64_t target, float target_logit, float scale) {
  for_loaded_chunks(block, static_cast<const T*>(logits), vocab, [=](int64_t first, Chunk<T> chunk, auto) {
    PENSTOCK_UNROLL
    for (int i = 0; i < kChunkElements<T>; ++i) {
      chunk.set(i, quick_exponential(chunk.value(i) - maximum) * share_scale);
    }
    store_chunk(logits, first, vocab, chunk);
  });
  // By the thread that has just written the target's chunk, so that no barrier is needed.
  if (target < 0 || target >= vocab || target / kChunkElements<T> % block.threads() != block.thread()) return;
  logits[target] = narrow<T>(quick_exponential(target_logit - maximum) * share_scale - scale);
}

template <class T, class Block>
PENSTOCK_KERNEL_CODE void clear_row(const Block& block, T* row, int64_t count) {
  const int64_t stride = int64_t{block.threads()} * kChunkElements<T>;
  for (int64_t first = int64_t{block.thread()} * kChunkElements<T>; first < count; first += stride) {
    store_chunk(row, first, count, Chunk<T>{});
  }
}

}  // namespace penstock
