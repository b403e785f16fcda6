#include "model/gemm.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>

#include "model/private_ops.h"
#include "model/tensor_view.h"

namespace penstock {

namespace {

at::Tensor as_tensor(DType dtype, const MatrixView& matrix, c10::Device device) {
  return tensor_view(matrix.data, {matrix.rows, matrix.cols}, tensor_type(dtype), device);
}

}  // namespace

void linear(DType dtype, const MatrixView& x, const MatrixView& weight, const MatrixView& y, c10::Device device) {
  at::Tensor out = as_tensor(dtype, y, device);
  at::mm_out(out, as_tensor(dtype, x, device), as_tensor(dtype, weight, device).t());
}

void linear_add(DType dtype, const MatrixView& residual, const MatrixView& x, const MatrixView& weight,
                const MatrixView& y, c10::Device device) {
  at::Tensor out = as_tensor(dtype, y, device);
  at::addmm_out(out, as_tensor(dtype, residual, device), as_tensor(dtype, x, device),
                as_tensor(dtype, weight, device).t());
}

void linear_bias(DType dtype, const MatrixView& x, const MatrixView& weight, void* bias, const MatrixView& y,
                 c10::Device device) {
  at::Tensor out = as_tensor(dtype, y, device);
  at::addmm_out(out, tensor_view(bias, {weight.rows}, tensor_type(dtype), device), as_tensor(dtype, x, device),
                as_tensor(dtype, weight, device).t());
}

void add_rows(DType dtype, const MatrixView& residual, const MatrixView& y, c10::Device device) {
  as_tensor(dtype, y, device).add_(as_tensor(dtype, residual, device));
}

void linear_input_gradient(DType dtype, const MatrixView& d_y, const MatrixView& weight, const MatrixView& d_x,
                           c10::Device device) {
  at::Tensor out = as_tensor(dtype, d_x, device);
  at::mm_out(out, as_tensor(dtype, d_y, device), as_tensor(dtype, weight, device));
}

void linear_weight_gradient(DType dtype, const MatrixView& d_y, const MatrixView& x, bool accumulate,
                            const MatrixView& d_weight, c10::Device device) {
  at::Tensor out = as_tensor(dtype, d_weight, device);
  const at::Tensor d_y_transposed = as_tensor(dtype, d_y, device).t();
  if (accumulate)
    at::addmm_out(out, out, d_y_transposed, as_tensor(dtype, x, device));
  else
    at::mm_out(out, d_y_transposed, as_tensor(dtype, x, device));
}

void linear_weight_gradient_fp32(DType dtype, const MatrixView& d_y, const MatrixView& x, bool accumulate,
                                 const MatrixView& d_weight, c10::Device device) {
  if (dtype == DType::kFloat32) {
    linear_weight_gradient(dtype, d_y, x, accumulate, d_weight, device);
    return;
  }
  at::Tensor out = as_tensor(DType::kFloat32, d_weight, device);
  product_into_fp32(out, as_tensor(dtype, d_y, device).t(), as_tensor(dtype, x, device), accumulate);
}

}  // namespace penstock
