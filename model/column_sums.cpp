#include "model/column_sums.h"

#include <algorithm>

#include "model/parallel_rows.h"
#include "model/row_lanes.h"

namespace penstock {

namespace {

// Columns are independent, so threads split them: a stripe is what one thread sums at a time (1 KiB of accumulators).
constexpr int64_t kStripeColumns = 256;
// Rows are summed in blocks, then the blocks: the error grows with the root of the rows in a block, not of all.
constexpr int64_t kBlockRows = 64;

template <typename T>
PENSTOCK_LANES_INLINE void sum_stripe(const ColumnSums& sums, int64_t first, int64_t columns) {
  float total[kStripeColumns] = {};
  for (int64_t block = 0; block < sums.rows; block += kBlockRows) {
    float partial[kStripeColumns] = {};
    const int64_t last = std::min(block + kBlockRows, sums.rows);
    for (int64_t row = block; row < last; ++row) {
      const T* values = static_cast<const T*>(sums.values) + row * sums.row_elements + sums.first_column + first;
      lanes::for_row(
          columns, [&](const auto& read, const auto& write)
                       __attribute__((always_inline)) { write(partial, read(partial) + read(values)); });
    }
    lanes::for_row(
        columns, [&](const auto& read, const auto& write)
                     __attribute__((always_inline)) { write(total, read(total) + read(partial)); });
  }
  float* to = sums.sums + first;
  for (int64_t i = 0; i < columns; ++i) to[i] = sums.accumulate ? to[i] + total[i] : total[i];
}

template <typename T>
PENSTOCK_LANES_INLINE void sum_stripes(const ColumnSums& sums, int64_t begin, int64_t end) {
  for (int64_t stripe = begin; stripe < end; ++stripe) {
    const int64_t first = stripe * kStripeColumns;
    sum_stripe<T>(sums, first, std::min(kStripeColumns, sums.columns - first));
  }
}

PENSTOCK_ROW_KERNEL void sum_stripes_float32(const ColumnSums& sums, int64_t begin, int64_t end) {
  sum_stripes<float>(sums, begin, end);
}
PENSTOCK_ROW_KERNEL void sum_stripes_bfloat16(const ColumnSums& sums, int64_t begin, int64_t end) {
  sum_stripes<bf16_bits>(sums, begin, end);
}

}  // namespace

void add_column_sums(DType dtype, const ColumnSums& sums) {
  const int64_t stripes = (sums.columns + kStripeColumns - 1) / kStripeColumns;
  parallel_rows(stripes, sums.rows * kStripeColumns, [&](int64_t begin, int64_t end) {
    if (dtype == DType::kFloat32)
      sum_stripes_float32(sums, begin, end);
    else
      sum_stripes_bfloat16(sums, begin, end);
  });
}

}  // namespace penstock
