// The products of a linear layer y = x W^T, by LibTorch's GEMM, straight into planned buffers.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace penstock {

// Row-major and contiguous. ATen has no read-only tensors, so neither has this; operands that are only read are
// inputs of the functions below.
struct MatrixView {
  void* data;
  int64_t rows, cols;
};

// y[n, m] = x[n, k] w[m, k]^T
void linear(DType dtype, const MatrixView& x, const MatrixView& weight, const MatrixView& y);
// y = residual + x w^T with one rounding.
void linear_add(DType dtype, const MatrixView& residual, const MatrixView& x, const MatrixView& weight,
                const MatrixView& y);
// y = x w^T + bias[m] with one rounding.
void linear_bias(DType dtype, const MatrixView& x, const MatrixView& weight, void* bias, const MatrixView& y);
// y += residual
void add_rows(DType dtype, const MatrixView& residual, const MatrixView& y);
// d_x[n, k] = d_y[n, m] w[m, k]
void linear_input_gradient(DType dtype, const MatrixView& d_y, const MatrixView& weight, const MatrixView& d_x);
// d_w[m, k] = or += d_y[n, m]^T x[n, k]
void linear_weight_gradient(DType dtype, const MatrixView& d_y, const MatrixView& x, bool accumulate,
                            const MatrixView& d_weight);

}  // namespace penstock
