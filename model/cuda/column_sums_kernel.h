// Sums over the rows of a matrix: of a bias's gradient, and of the norms' partial sums. Reads every element once, in
// segments of 64 or 128 bytes a row, and writes one row: the goal is 80% of peak bandwidth from some 100 blocks on,
// which is 3,200 columns. Fewer columns leave multiprocessors idle, but then there is less to read.
// The order of a column's sum is fixed: row r belongs to lane r % kSumLanes of the column, and the lanes are summed one
// after the other. Neither the number of threads nor the columns beside it change it.
#pragma once

#include "model/cuda/vector_access.h"

namespace penstock {

inline constexpr int kStripeColumns = 32;  // a block's
inline constexpr int kSumLanes = 64;       // 256 threads, four chunks of bf16 wide
inline constexpr int64_t kColumnSumsSharedBytes = kSumLanes * kStripeColumns * static_cast<int64_t>(sizeof(float));

template <class T>
struct ColumnSumsKernel {
  const T* values;  // the first summed column of the first row
  int64_t rows, row_elements, columns;
  float* sums;
  bool accumulate;

  template <class Block>
  PENSTOCK_KERNEL_CODE void operator()(Block& block) const {
    constexpr int kElements = kChunkElements<T>, kStripeChunks = kStripeColumns / kElements;
    float* lanes = block.template shared<float>();
    const int64_t first_column = block.block() * kStripeColumns;
    for (int item = block.thread(); item < kSumLanes * kStripeChunks; item += block.threads()) {
      const int lane = item / kStripeChunks, in_stripe = item % kStripeChunks * kElements;
      const Chunk<float, kElements> sum = lane_sum(lane, first_column + in_stripe);
      PENSTOCK_UNROLL
      for (int i = 0; i < kElements; ++i) lanes[lane * kStripeColumns + in_stripe + i] = sum.elements[i];
    }
    block.barrier();
    for (int i = block.thread(); i < kStripeColumns && first_column + i < columns; i += block.threads()) {
      float total = lanes[i];
      for (int lane = 1; lane < kSumLanes; ++lane) total += lanes[lane * kStripeColumns + i];
      float& sum = sums[first_column + i];
      sum = accumulate ? sum + total : total;
    }
  }

 private:
  // Rows lane, lane + kSumLanes, ...: read four at a time, so that as many loads are under way, and summed in order.
  PENSTOCK_KERNEL_CODE Chunk<float, kChunkElements<T>> lane_sum(int lane, int64_t column) const {
    constexpr int kElements = kChunkElements<T>, kRowsAtOnce = 4;
    Chunk<float, kElements> sum = {};
    for (int64_t row = lane; row < rows; row += kRowsAtOnce * kSumLanes) {
      Chunk<T> loaded[kRowsAtOnce] = {};
      PENSTOCK_UNROLL
      for (int r = 0; r < kRowsAtOnce; ++r) {
        const int64_t at = row + r * kSumLanes;
        if (at < rows) loaded[r] = load_chunk(values + at * row_elements, column, columns);
      }
      PENSTOCK_UNROLL
      for (int r = 0; r < kRowsAtOnce; ++r) {
        PENSTOCK_UNROLL
        for (int i = 0; i < kElements; ++i) sum.elements[i] += loaded[r].value(i);
      }
    }
    return sum;
  }
};

}  // namespace penstock
