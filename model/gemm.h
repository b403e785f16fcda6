// The products of a linear layer y = x W^T, by LibTorch's GEMM, straight into planned buffers of `device`. Operands are
// contiguous, so that neither backend copies one; accumulation is in fp32 (cuda_numerics.h sees to that on CUDA).
#pragma once

#include <c10/core/Device.h>

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
void linear(DType dtype, const MatrixView& x, const MatrixView& weight, const MatrixView& y,
            c10::Device device = c10::kCPU);
// y = residual + x w^T with one rounding.
void linear_add(DType dtype, const MatrixView& residual, const MatrixView& x, const MatrixView& weight,
                const MatrixView& y, c10::Device device = c10::kCPU);
// y = x w^T + bias[m] with one rounding.
void linear_bias(DType dtype, const MatrixView& x, const MatrixView& weight, void* bias, const MatrixView& y,
                 c10::Device device = c10::kCPU);
// y += residual
void add_rows(DType dtype, const MatrixView& residual, const MatrixView& y, c10::Device device = c10::kCPU);
// d_x[n, k] = d_y[n, m] w[m, k]
void linear_input_gradient(DType dtype, const MatrixView& d_y, const MatrixView& weight, const MatrixView& d_x,
                           c10::Device device = c10::kCPU);
// d_w[m, k] = or += d_y[n, m]^T x[n, k]
void linear_weight_gradient(DType dtype, const MatrixView& d_y, const MatrixView& x, bool accumulate,
                            const MatrixView& d_weight, c10::Device device = c10::kCPU);
// The same into fp32, whatever the operands' type: nothing is rounded before the sum. CUDA, or its emulated ops.
void linear_weight_gradient_fp32(DType dtype, const MatrixView& d_y, const MatrixView& x, bool accumulate,
                                 const MatrixView& d_weight, c10::Device device);

}  // namespace penstock
