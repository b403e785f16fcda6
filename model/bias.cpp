#include "model/bias.h"

#include <algorithm>

#include "core/check.h"
#include "model/element_casts.h"
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

FusedBias::FusedBias(const LayerLayout& layout, const std::vector<std::string>& names, DType wire, DType compute)
    : wire_(wire), compute_(compute) {
  for (const std::string& name : names) {
    places_.push_back(layout.tensor(name));
    elements_ += static_cast<int64_t>(places_.back().element_count);
  }
}

bool FusedBias::trains() const {
  return std::any_of(places_.begin(), places_.end(), [](const TensorPlace& place) { return place.spec.trainable; });
}

void FusedBias::gather(std::span<const std::byte> weights, void* scratch) const {
  const uint64_t wire_bytes = dtype_bytes(wire_);
  auto* packed = static_cast<std::byte*>(scratch);
  for (const TensorPlace& place : places_) {
    CHECK_LE((place.offset + place.element_count) * wire_bytes, weights.size());
    cast_elements(wire_, weights.data() + place.offset * wire_bytes, compute_, packed,
                  static_cast<int64_t>(place.element_count));
    packed += place.element_count * dtype_bytes(compute_);
  }
}

void FusedBias::add_gradient(const MatrixView& d_y, std::span<float> gradient, bool accumulate) const {
  if (!exists()) return;
  CHECK_EQ(d_y.cols, elements_);
  int64_t first_column = 0;
  for (const TensorPlace& place : places_) {
    const auto columns = static_cast<int64_t>(place.element_count);
    if (place.spec.trainable) {
      CHECK_LE(place.offset + place.element_count, gradient.size());
      add_column_sums(
          compute_, {d_y.data, d_y.rows, d_y.cols, first_column, columns, gradient.data() + place.offset, accumulate});
    }
    first_column += columns;
  }
}

}  // namespace penstock
