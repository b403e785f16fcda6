// RMSNorm of every query and key head, before the rotation: the norm of rms_norm.h over head_dim, in place in rows of
// packed q, k, v. Queries share one weight, keys another.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace penstock {

struct HeadNormShape {
  int64_t rows, row_elements;  // rows of packed values, so far apart; query heads first, then key heads
  int64_t query_heads, key_heads, head_dim;

  constexpr int64_t heads() const { return query_heads + key_heads; }
  constexpr int64_t width() const { return heads() * head_dim; }
};

struct HeadNormForward {
  HeadNormShape shape;
  float eps;
  const float* query_weight;  // [head_dim]
  const float* key_weight;
  void* values;  // in place
  void* raw;     // [rows, width], the values before the norm, kept for backward
  float* rstd;   // [rows, heads], kept for backward
};
void head_norm(DType dtype, const HeadNormForward& norm);

struct HeadNormBackward {
  HeadNormShape shape;
  const float* query_weight;
  const float* key_weight;
  const void* raw;
  const float* rstd;
  void* d_values;         // in place
  float* partials;        // head_norm_partials() floats of scratch
  float* query_gradient;  // [head_dim], = or += this call's part; null: frozen
  float* key_gradient;
  bool accumulate;
};
// The weights' gradients are summed over blocks of rows, then over blocks, both in order: threads do not change them.
void head_norm_backward(DType dtype, const HeadNormBackward& norm);
int64_t head_norm_partials(int64_t rows, int64_t head_dim);

}  // namespace penstock
