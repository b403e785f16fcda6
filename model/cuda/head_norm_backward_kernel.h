// The backward pass of head_norm_kernels.h; its bytes and its goal are stated there.
// A block takes kKernelNormBlockRows rows. A group of lanes takes a row at a time and sums the weight's gradient over
// its heads in registers; the rows of the block are then summed in shared memory. Queries first, then keys.
#pragma once

#include "model/cuda/head_norm_kernels.h"

namespace penstock {

constexpr int64_t head_norm_shared_bytes(int64_t head_dim) {
  return kKernelNormBlockRows * head_dim * static_cast<int64_t>(sizeof(float));
}

template <class T, int kChunks>
struct HeadNormBackwardKernel {
  static constexpr int kElements = kChunkElements<T>;

  HeadNormBackward norm;
  int lanes;

  template <class Block>
  PENSTOCK_KERNEL_CODE void operator()(Block& block) const {
    const int64_t queries = norm.shape.query_heads;
    backward_heads(block, 0, queries, norm.query_weight, norm.query_gradient != nullptr, 0);
    backward_heads(block, queries, norm.shape.heads(), norm.key_weight, norm.key_gradient != nullptr,
                   norm.shape.head_dim);
  }

 private:
  using Sums = Chunk<float, kElements>[kChunks];

  // Heads [begin, end) of the block's rows; their sums go to the block's partial sums from `first_partial` on.
  template <class Block>
  PENSTOCK_KERNEL_CODE void backward_heads(Block& block, int64_t begin, int64_t end, const float* weight,
                                           bool wants_sums, int64_t first_partial) const {
    const int64_t head_dim = norm.shape.head_dim;
    const int groups = block.threads() / lanes, lane = block.thread() % lanes;
    float* row_sums = block.template shared<float>();  // [kKernelNormBlockRows, head_dim]
    for (int64_t in_block = block.thread() / lanes; in_block - block.thread() / lanes < kKernelNormBlockRows;
         in_block += groups) {
      const int64_t row = block.block() * kKernelNormBlockRows + in_block;
      const bool exists = in_block < kKernelNormBlockRows && row < norm.shape.rows;
      Sums sums = {};
      for (int64_t head = begin; head < end; ++head) backward_head(block, exists, row, head, weight, sums);
      if (!wants_sums || in_block >= kKernelNormBlockRows) continue;
      PENSTOCK_UNROLL
      for (int c = 0; c < kChunks; ++c) {
        const int64_t first = int64_t{lane + c * lanes} * kElements;
        store_chunk(row_sums + in_block * head_dim, first, head_dim, sums[c]);
      }
    }
    if (!wants_sums) return;
    block.barrier();
    float* partial = norm.partials + block.block() * 2 * head_dim + first_partial;
    for (int64_t i = block.thread(); i < head_dim; i += block.threads()) {
      float total = row_sums[i];
      for (int64_t row = 1; row < kKernelNormBlockRows; ++row) total += row_sums[row * head_dim + i];
      partial[i] = total;
    }
    block.barrier();
  }

  template <class Block>
  PENSTOCK_KERNEL_CODE void backward_head(Block& block, bool exists, int64_t row, int64_t head, const float* weights,
                                          Sums& sums) const {
    const HeadNormShape& shape = norm.shape;
    const int lane = block.thread() % lanes;
    const int64_t width = exists ? shape.head_dim : 0;
    T* d_values = static_cast<T*>(norm.d_values) + row * shape.row_elements + head * shape.head_dim;
    HeadChunks<T, kChunks> x, gradient;
    x.load(static_cast<const T*>(norm.raw) + row * shape.width() + head * shape.head_dim, width, lane, lanes);
    gradient.load(d_values, width, lane, lanes);
    const float rstd = exists ? norm.rstd[row * shape.heads() + head] : 0;

    Sums weighted;  // the gradient times the weight
    float products = 0;
    PENSTOCK_UNROLL
    for (int c = 0; c < kChunks; ++c) {
      const int64_t first = int64_t{lane + c * lanes} * kElements;
      const auto weight = load_chunk<float, kElements>(weights, first, width);
      PENSTOCK_UNROLL
      for (int i = 0; i < kElements; ++i) {
        const float scaled = x.chunks[c].value(i) * rstd, d_normed = gradient.chunks[c].value(i);
        weighted[c].set(i, d_normed * weight.value(i));
        products += weighted[c].value(i) * scaled;
        sums[c].elements[i] += d_normed * rounded<T>(scaled);
      }
    }
    const float mean = sum_over_lanes(block, products, lanes) / static_cast<float>(shape.head_dim);
    PENSTOCK_UNROLL
    for (int c = 0; c < kChunks; ++c) {
      PENSTOCK_UNROLL
      for (int i = 0; i < kElements; ++i) {
        gradient.chunks[c].set(i, (weighted[c].value(i) - x.chunks[c].value(i) * rstd * mean) * rstd);
      }
    }
    gradient.store(d_values, width, lane, lanes);
  }
};

}  // namespace penstock
