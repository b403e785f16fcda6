// Sums over the rows of a matrix: the gradient of a bias.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace penstock {

// sums[i] = or += the sum over rows of values[row, first_column + i], in fp32 and in an order that depends neither on
// threads nor on the other columns.
struct ColumnSums {
  const void* values;
  int64_t rows, row_elements, first_column, columns;
  float* sums;
  bool accumulate;
};
void add_column_sums(DType dtype, const ColumnSums& sums);

}  // namespace penstock
