// RMSNorm over rows: normed = round(x * rstd) * weight with rstd = 1 / sqrt(mean(x^2) + eps), as Hugging Face's
// LlamaRMSNorm: arithmetic in fp32, one rounding to the compute dtype before the weight and one after.
// x, normed and gradients are [rows, hidden] in `dtype`; the weight is given in fp32.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace penstock {

struct RmsNormForward {
  int64_t rows, hidden;
  float eps;
  const void* x;
  const float* weight;
  void* normed;
  float* rstd;  // [rows], kept for backward; null: not wanted
};
void rms_norm(DType dtype, const RmsNormForward& norm);

struct RmsNormBackward {
  int64_t rows, hidden;
  const void* x;
  const float* weight;
  const float* rstd;
  const void* d_normed;
  const void* d_skip;      // added to d_x (the residual's gradient); null: nothing
  void* d_x;               // null: not wanted
  void* normed;            // rebuilt here for the weight gradient that follows; null: not wanted
  float* partials;         // rms_norm_partials(rows, hidden) floats of scratch
  float* weight_gradient;  // [hidden], = or += this call's part; null: frozen
  bool accumulate;
};
// The weight's gradient is summed over blocks of rows, then over blocks, both in order: threads do not change it.
void rms_norm_backward(DType dtype, const RmsNormBackward& norm);
int64_t rms_norm_partials(int64_t rows, int64_t hidden);

}  // namespace penstock
