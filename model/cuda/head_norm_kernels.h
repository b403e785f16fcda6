// RMSNorm of heads, forward and backward (model/head_norm.h): a few neighbouring lanes of a warp to a head, so that a
// head of 128 bf16 takes 16 lanes at 16 bytes each and no barrier.
// Bytes moved per element in bf16: forward 6 (values read, written, and kept raw), backward 6 (raw, gradient read and
// written). The goal is 80% of peak bandwidth. A multiprocessor of an H200 needs 10 KB of reads under way (backward 19)
// at 800 ns of latency, and has 20 KiB in five blocks of forward, 24 KiB in three of backward.
// Sums go over lanes, heads and rows in an order that the number of threads does not change.
#pragma once

#include "model/cuda/block_reduce.h"
#include "model/cuda/kernel_set.h"
#include "model/cuda/vector_access.h"
#include "model/head_norm.h"

namespace penstock {

inline constexpr int64_t kMostHeadDim = 2 * kMostHalfHeadDim;
// A lane has one chunk of a head as a rule; only the widest heads need more, and kernels for them more registers.
template <class T>
inline constexpr int kMostHeadChunks = static_cast<int>(kMostHeadDim / kWarpLanes) / kChunkElements<T>;

// Lanes that share a head: a power of two, so that they lie in one warp.
constexpr int head_lanes(int64_t head_dim, int64_t chunk_elements) {
  int lanes = 1;
  while (lanes < kWarpLanes && lanes * chunk_elements < head_dim) lanes *= 2;
  return lanes;
}

// One lane's chunks of a head. A group of lanes without a head has width 0 and still takes part in shuffles.
template <class T, int kChunks>
struct HeadChunks {
  Chunk<T> chunks[kChunks];

  PENSTOCK_KERNEL_CODE void load(const T* head, int64_t width, int lane, int lanes) {
    PENSTOCK_UNROLL
    for (int c = 0; c < kChunks; ++c) {
      chunks[c] = load_chunk(head, int64_t{lane + c * lanes} * kChunkElements<T>, width);
    }
  }
  PENSTOCK_KERNEL_CODE void store(T* head, int64_t width, int lane, int lanes) const {
    PENSTOCK_UNROLL
    for (int c = 0; c < kChunks; ++c) {
      store_chunk(head, int64_t{lane + c * lanes} * kChunkElements<T>, width, chunks[c]);
    }
  }
};

template <class T, int kChunks>
struct HeadNormKernel {
  HeadNormForward norm;
  int lanes;

  template <class Block>
  PENSTOCK_KERNEL_CODE void operator()(Block& block) const {
    const HeadNormShape& shape = norm.shape;
    const auto heads = static_cast<uint32_t>(shape.heads());
    const int groups = block.threads() / lanes, lane = block.thread() % lanes;
    const auto item = static_cast<uint32_t>(block.block() * groups + block.thread() / lanes);
    const bool exists = item < shape.rows * shape.heads();
    const int64_t row = exists ? item / heads : 0, head = exists ? item % heads : 0;
    const int64_t width = exists ? shape.head_dim : 0;
    T* values = static_cast<T*>(norm.values) + row * shape.row_elements + head * shape.head_dim;
    HeadChunks<T, kChunks> x;
    x.load(values, width, lane, lanes);
    x.store(static_cast<T*>(norm.raw) + row * shape.width() + head * shape.head_dim, width, lane, lanes);

    float squares = 0;
    PENSTOCK_UNROLL
    for (int c = 0; c < kChunks; ++c) {
      PENSTOCK_UNROLL
      for (int i = 0; i < kChunkElements<T>; ++i) squares += x.chunks[c].value(i) * x.chunks[c].value(i);
    }
    const float mean = sum_over_lanes(block, squares, lanes) / static_cast<float>(shape.head_dim);
    const float rstd = 1.0f / kernel_math::square_root(mean + norm.eps);
    if (exists && lane == 0) norm.rstd[row * shape.heads() + head] = rstd;

    const float* weights = head < shape.query_heads ? norm.query_weight : norm.key_weight;
    PENSTOCK_UNROLL
    for (int c = 0; c < kChunks; ++c) {
      const int64_t first = int64_t{lane + c * lanes} * kChunkElements<T>;
      const auto weight = load_chunk<float, kChunkElements<T>>(weights, first, width);
      PENSTOCK_UNROLL
      for (int i = 0; i < kChunkElements<T>; ++i) {
        x.chunks[c].set(i, rounded<T>(x.chunks[c].value(i) * rstd) * weight.value(i));
      }
    }
    x.store(values, width, lane, lanes);
  }
};

}  // namespace penstock
