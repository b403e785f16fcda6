// The biases of linear layers that are one GEMM (q, k, v, or gate and up): gathered into one row that the GEMM adds,
// and their gradients.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/layer_layout.h"
#include "model/maths.h"

namespace penstock {

class FusedBias {
 public:
  FusedBias() = default;  // no bias
  FusedBias(const LayerLayout& layout, const std::vector<std::string>& names, DType wire, DType compute);

  bool exists() const { return !places_.empty(); }
  bool trains() const;
  int64_t elements() const { return elements_; }

  // Gathers the biases into `scratch`, elements() long in the compute dtype.
  void gather(Maths& maths, std::span<const std::byte> weights, void* scratch) const;
  // gradient (fp32, the trainable part of the slab) = or += the column sums of d_y, for the biases that are trained.
  void add_gradient(Maths& maths, const MatrixView& d_y, std::span<float> gradient, bool accumulate) const;

 private:
  std::vector<TensorPlace> places_;
  int64_t elements_ = 0;
  DType wire_ = DType::kFloat32;
  DType compute_ = DType::kFloat32;
};

}  // namespace penstock
