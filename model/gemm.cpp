#include "model/gemm.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mm.h>

#include "model/tensor_type.h"

namespace penstock {

namespace {

at::Tensor as_tensor(DType dtype, const MatrixView& matrix) {
  return at::from_blob(matrix.data, {matrix.rows, matrix.cols}, tensor_type(dtype));
}

}  // namespace

void linear(DType dtype, const MatrixView& x, const MatrixView& weight, const MatrixView& y) {
  at::Tensor out = as_tensor(dtype, y);
  at::mm_out(out, as_tensor(dtype, x), as_tensor(dtype, weight).t());
}

void linear_add(DType dtype, const MatrixView& residual, const MatrixView& x, const MatrixView& weight,
                const MatrixView& y) {
  at::Tensor out = as_tensor(dtype, y);
  at::addmm_out(out, as_tensor(dtype, residual), as_tensor(dtype, x), as_tensor(dtype, weight).t());
}

void linear_bias(DType dtype, const MatrixView& x, const MatrixView& weight, void* bias, const MatrixView& y) {
  at::Tensor out = as_tensor(dtype, y);
  at::addmm_out(out, at::from_blob(bias, {weight.rows}, tensor_type(dtype)), as_tensor(dtype, x),
                as_tensor(dtype, weight).t());
}

void add_rows(DType dtype, const MatrixView& residual, const MatrixView& y) {
  as_tensor(dtype, y).add_(as_tensor(dtype, residual));
}

void linear_input_gradient(DType dtype, const MatrixView& d_y, const MatrixView& weight, const MatrixView& d_x) {
  at::Tensor out = as_tensor(dtype, d_x);
  at::mm_out(out, as_tensor(dtype, d_y), as_tensor(dtype, weight));
}

void linear_weight_gradient(DType dtype, const MatrixView& d_y, const MatrixView& x, bool accumulate,
                            const MatrixView& d_weight) {
  at::Tensor out = as_tensor(dtype, d_weight);
  const at::Tensor d_y_transposed = as_tensor(dtype, d_y).t();
  if (accumulate)
    at::addmm_out(out, out, d_y_transposed, as_tensor(dtype, x));
  else
    at::mm_out(out, d_y_transposed, as_tensor(dtype, x));
}

}  // namespace penstock
