// One or more weight matrices of a slab that share their input and are therefore one GEMM: q, k, v, or gate and up.
// Where they lie next to each other in the compute dtype, the GEMM reads the slab itself; else they are gathered and
// converted into scratch first. Both give the same bits.
// Members may be frozen or trained, each by itself. The gradient of a trained member does not depend on which others
// are trained: GEMMs of other extents would round differently, so a group with any trained member runs the one GEMM
// and keeps only the rows that are trained.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/layer_layout.h"
#include "model/maths.h"

namespace penstock {

class FusedWeight {
 public:
  FusedWeight() = default;
  // `gradient`: what the device's weight gradients come out as (weight_gradient_type()).
  FusedWeight(const LayerLayout& layout, const std::vector<std::string>& names, DType wire, DType compute,
              DType gradient);

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  bool trains() const { return trained_ > 0; }  // any member
  // Bytes of scratch that operand() and add_gradient() need.
  uint64_t operand_scratch() const { return wire_ == compute_ && adjacent_ ? 0 : matrix_bytes(compute_); }
  uint64_t gradient_scratch() const { return !trains() || sums_in_place() ? 0 : matrix_bytes(gradient_); }

  // [rows, cols] in the compute dtype: a view of `weights`, or of `scratch` after the conversion.
  MatrixView operand(Maths& maths, std::span<const std::byte> weights, void* scratch) const;
  // gradient (fp32, the trainable part of the slab) = or += d_y^T x for the trained members. The sum is fp32; where the
  // device's GEMM cannot sum in fp32 it rounds once to the compute dtype before.
  void add_gradient(Maths& maths, const MatrixView& d_y, const MatrixView& x, std::span<float> gradient,
                    bool accumulate, void* scratch) const;

 private:
  bool all_train() const { return trained_ == places_.size(); }
  uint64_t matrix_bytes(DType dtype) const { return static_cast<uint64_t>(rows_ * cols_) * dtype_bytes(dtype); }
  // An fp32 GEMM itself adds to the gradient where all members would lie without padding between them.
  bool sums_in_gemm() const { return gradient_ == DType::kFloat32 && packs_; }
  bool sums_in_place() const { return sums_in_gemm() && all_train(); }
  void copy_rows(Maths& maths, std::span<float> gradient, float* packed, bool to_packed) const;

  std::vector<TensorPlace> places_;
  size_t trained_ = 0;
  int64_t rows_ = 0;
  int64_t cols_ = 0;
  bool adjacent_ = true;  // the members follow each other in this layout
  bool packs_ = true;     // they would if all were trained, or all frozen
  DType wire_ = DType::kFloat32;
  DType compute_ = DType::kFloat32;
  DType gradient_ = DType::kFloat32;
};

}  // namespace penstock
