// RMSNorm of rows, forward and backward (model/rms_norm.h), a block of threads to a row.
// Bytes moved per element in bf16: forward 4 (x, normed); backward up to 10 (x, d_normed, d_skip, d_x, normed) and
// 8 / kKernelNormBlockRows for the partial sums, written and read. The weight stays in the caches. One pass over memory
// each; the goal is 80% of peak bandwidth. An H200 moves 36 bytes/ns a multiprocessor, half of them reads, and needs
// 15 KB of reads under way (backward 17) at 800 ns of latency: at 4,096 wide, four blocks of forward have 32 KiB and
// two of backward too, before d_skip.
#pragma once

#include "model/cuda/block_reduce.h"
#include "model/cuda/held_row.h"
#include "model/cuda/kernel_set.h"
#include "model/cuda/vector_access.h"
#include "model/rms_norm.h"

namespace penstock {

inline constexpr int64_t kNormSharedBytes = kReductionBytes<float>;

template <class T>
struct RmsNormKernel {
  RmsNormForward norm;

  template <class Block>
  PENSTOCK_KERNEL_CODE void operator()(Block& block) const {
    constexpr int kElements = kChunkElements<T>;
    BlockReduction<Block, float> reduction(block, block.template shared<float>());
    const int64_t row = block.block(), width = norm.hidden;
    const HeldRow<T> x(block, static_cast<const T*>(norm.x) + row * width, width);
    T* normed = static_cast<T*>(norm.normed) + row * width;

    float squares = 0;
    for_chunks<T>(block, width, [&](int index, int64_t first) {
      const Chunk<T> values = x.chunk(index, first);
      PENSTOCK_UNROLL
      for (int i = 0; i < kElements; ++i) squares += values.value(i) * values.value(i);
    });
    const float mean = reduction.sum(squares) / static_cast<float>(width);
    const float rstd = 1.0f / kernel_math::square_root(mean + norm.eps);
    if (norm.rstd != nullptr && block.thread() == 0) norm.rstd[row] = rstd;

    for_chunks<T>(block, width, [&](int index, int64_t first) {
      const Chunk<T> values = x.chunk(index, first);
      const auto weight = load_chunk<float, kElements>(norm.weight, first, width);
      Chunk<T> scaled;
      PENSTOCK_UNROLL
      for (int i = 0; i < kElements; ++i) scaled.set(i, rounded<T>(values.value(i) * rstd) * weight.value(i));
      store_chunk(normed, first, width, scaled);
    });
  }
};

// Columns whose sums fit into shared memory.
inline constexpr int64_t kNormSharedColumns =
    (kMostSharedBytes - kNormSharedBytes) / static_cast<int64_t>(sizeof(float));

// A block takes kKernelNormBlockRows rows, one after the other, and sums their part of the weight's gradient in shared
// memory, each thread its own columns; rows too wide for that sum in their row of the partial sums, through the cache.
template <class T>
struct RmsNormBackwardKernel {
  RmsNormBackward norm;

  template <class Block>
  PENSTOCK_KERNEL_CODE void operator()(Block& block) const {
    float* shared = block.template shared<float>();
    BlockReduction<Block, float> reduction(block, shared);
    float* partial = norm.partials + block.block() * norm.hidden;
    float* sums = norm.hidden <= kNormSharedColumns ? shared + kNormSharedBytes / sizeof(float) : partial;
    const int64_t begin = block.block() * kKernelNormBlockRows;
    const int64_t end = begin + kKernelNormBlockRows < norm.rows ? begin + kKernelNormBlockRows : norm.rows;
    for (int64_t row = begin; row < end; ++row) backward_row(block, reduction, row, row == begin, sums);
    if (norm.weight_gradient == nullptr || sums == partial) return;
    for_chunks<T>(block, norm.hidden, [&](int, int64_t first) {
      store_chunk(partial, first, norm.hidden, load_chunk<float, kElements>(sums, first, norm.hidden));
    });
  }

 private:
  static constexpr int kElements = kChunkElements<T>;

  template <class Block>
  PENSTOCK_KERNEL_CODE void backward_row(Block& block, BlockReduction<Block, float>& reduction, int64_t row,
                                         bool is_first, float* sums) const {
    const int64_t width = norm.hidden, start = row * width;
    const HeldRow<T> x(block, static_cast<const T*>(norm.x) + start, width);
    const HeldRow<T> d_normed(block, static_cast<const T*>(norm.d_normed) + start, width);
    const float rstd = norm.rstd[row];
    float products = 0;
    for_chunks<T>(block, width, [&](int index, int64_t first) {
      const Chunk<T> values = x.chunk(index, first), gradient = d_normed.chunk(index, first);
      const auto weight = load_chunk<float, kElements>(norm.weight, first, width);
      Chunk<float, kElements> added;
      Chunk<T> normed;
      PENSTOCK_UNROLL
      for (int i = 0; i < kElements; ++i) {
        const float scaled = values.value(i) * rstd;
        products += gradient.value(i) * weight.value(i) * scaled;
        added.set(i, gradient.value(i) * rounded<T>(scaled));
        normed.set(i, rounded<T>(scaled) * weight.value(i));
      }
      if (norm.weight_gradient != nullptr) add_to_sums(first, is_first, added, sums);
      if (norm.normed != nullptr) store_chunk(static_cast<T*>(norm.normed) + start, first, width, normed);
    });
    if (norm.d_x == nullptr) return;

    const float mean = reduction.sum(products) / static_cast<float>(width);
    for_chunks<T>(block, width, [&](int index, int64_t first) {
      const Chunk<T> values = x.chunk(index, first), gradient = d_normed.chunk(index, first);
      const auto weight = load_chunk<float, kElements>(norm.weight, first, width);
      Chunk<T> d_x, d_skip;
      if (norm.d_skip != nullptr) d_skip = load_chunk(static_cast<const T*>(norm.d_skip) + start, first, width);
      PENSTOCK_UNROLL
      for (int i = 0; i < kElements; ++i) {
        const float d_value = (gradient.value(i) * weight.value(i) - values.value(i) * rstd * mean) * rstd;
        d_x.set(i, norm.d_skip == nullptr ? d_value : d_skip.value(i) + d_value);
      }
      store_chunk(static_cast<T*>(norm.d_x) + start, first, width, d_x);
    });
  }

  PENSTOCK_KERNEL_CODE void add_to_sums(int64_t first, bool is_first, const Chunk<float, kElements>& added,
                                        float* sums) const {
    Chunk<float, kElements> sum = {};
    if (!is_first) sum = load_chunk<float, kElements>(sums, first, norm.hidden);
    PENSTOCK_UNROLL
    for (int i = 0; i < kElements; ++i) sum.elements[i] += added.elements[i];
    store_chunk(sums, first, norm.hidden, sum);
  }
};

}  // namespace penstock
