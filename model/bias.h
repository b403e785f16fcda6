// The biases of linear layers that are one GEMM (q, k, v, or gate and up): gathered into one row that the GEMM adds,
// and their gradients.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/layer_layout.h"
#include "model/gemm.h"

namespace penstock {

class FusedBias {
 public:
  FusedBias() = default;  // no bias
  FusedBias(const LayerLayout& layout, const std::vector<std::string>& names, DType wire, DType compute);

  bool exists() const { return !places_.empty(); }
  bool trains() const;
  int64_t elements() const { return elements_; }

  // Gathers the biases into `scratch`, elements() long in the compute dtype.
  void gather(std::span<const std::byte> weights, void* scratch) const;
  // gradient (fp32, the trainable part of the slab) = or += the column sums of d_y, for the biases that are trained.
  void add_gradient(const MatrixView& d_y, std::span<float> gradient, bool accumulate) const;

 private:
  std::vector<TensorPlace> places_;
  int64_t elements_ = 0;
  DType wire_ = DType::kFloat32;
  DType compute_ = DType::kFloat32;
};

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
