#include "model/head_norm.h"

#include <algorithm>

#include "model/parallel_rows.h"
#include "model/rms_norm_row.h"

namespace penstock {

namespace {

// As in rms_norm.cpp: decides the order of the sum.
constexpr int64_t kBlockRows = 64;

template <typename T>
PENSTOCK_LANES_INLINE void forward_rows(const HeadNormForward& norm, int64_t begin, int64_t end) {
  const HeadNormShape& shape = norm.shape;
  const int64_t heads = shape.heads(), width = shape.width();
  for (int64_t row = begin; row < end; ++row) {
    T* values = static_cast<T*>(norm.values) + row * shape.row_elements;
    std::memcpy(static_cast<T*>(norm.raw) + row * width, values, static_cast<size_t>(width) * sizeof(T));
    for (int64_t head = 0; head < heads; ++head) {
      T* x = values + head * shape.head_dim;
      const float* weight = head < shape.query_heads ? norm.query_weight : norm.key_weight;
      norm.rstd[row * heads + head] = norm_row::forward<T>(shape.head_dim, norm.eps, x, weight, x);
    }
  }
}

template <typename T>
PENSTOCK_LANES_INLINE void backward_row(const HeadNormBackward& norm, int64_t row, float* query_partial,
                                        float* key_partial) {
  const HeadNormShape& shape = norm.shape;
  const int64_t heads = shape.heads();
  for (int64_t head = 0; head < heads; ++head) {
    const bool is_query = head < shape.query_heads;
    T* d_value = static_cast<T*>(norm.d_values) + row * shape.row_elements + head * shape.head_dim;
    norm_row::backward<T>({.width = shape.head_dim,
                           .x = static_cast<const T*>(norm.raw) + row * shape.width() + head * shape.head_dim,
                           .weight = is_query ? norm.query_weight : norm.key_weight,
                           .rstd = norm.rstd[row * heads + head],
                           .d_normed = d_value,
                           .d_skip = nullptr,
                           .d_x = d_value,
                           .normed = nullptr,
                           .partial = is_query ? query_partial : key_partial});
  }
}

template <typename T>
PENSTOCK_LANES_INLINE void backward_blocks(const HeadNormBackward& norm, int64_t begin, int64_t end) {
  const int64_t head_dim = norm.shape.head_dim;
  for (int64_t block = begin; block < end; ++block) {
    float* partials = norm.partials + block * 2 * head_dim;
    std::fill(partials, partials + 2 * head_dim, 0.0f);
    float* query_partial = norm.query_gradient == nullptr ? nullptr : partials;
    float* key_partial = norm.key_gradient == nullptr ? nullptr : partials + head_dim;
    const int64_t last = std::min((block + 1) * kBlockRows, norm.shape.rows);
    for (int64_t row = block * kBlockRows; row < last; ++row) backward_row<T>(norm, row, query_partial, key_partial);
  }
}

PENSTOCK_ROW_KERNEL void forward_rows_float32(const HeadNormForward& norm, int64_t begin, int64_t end) {
  forward_rows<float>(norm, begin, end);
}
PENSTOCK_ROW_KERNEL void forward_rows_bfloat16(const HeadNormForward& norm, int64_t begin, int64_t end) {
  forward_rows<bf16_bits>(norm, begin, end);
}
PENSTOCK_ROW_KERNEL void backward_blocks_float32(const HeadNormBackward& norm, int64_t begin, int64_t end) {
  backward_blocks<float>(norm, begin, end);
}
PENSTOCK_ROW_KERNEL void backward_blocks_bfloat16(const HeadNormBackward& norm, int64_t begin, int64_t end) {
  backward_blocks<bf16_bits>(norm, begin, end);
}

int64_t block_count(int64_t rows) { return (rows + kBlockRows - 1) / kBlockRows; }

void add_partials(const HeadNormBackward& norm, int64_t first_element, float* gradient) {
  if (gradient == nullptr) return;
  const int64_t head_dim = norm.shape.head_dim;
  for (int64_t block = 0; block < block_count(norm.shape.rows); ++block) {
    const float* partial = norm.partials + block * 2 * head_dim + first_element;
    const bool adds = block > 0 || norm.accumulate;
    for (int64_t i = 0; i < head_dim; ++i) gradient[i] = adds ? gradient[i] + partial[i] : partial[i];
  }
}

}  // namespace

void head_norm(DType dtype, const HeadNormForward& norm) {
  parallel_rows(norm.shape.rows, norm.shape.width(), [&](int64_t begin, int64_t end) {
    if (dtype == DType::kFloat32)
      forward_rows_float32(norm, begin, end);
    else
      forward_rows_bfloat16(norm, begin, end);
  });
}

int64_t head_norm_partials(int64_t rows, int64_t head_dim) { return block_count(rows) * 2 * head_dim; }

void head_norm_backward(DType dtype, const HeadNormBackward& norm) {
  parallel_rows(block_count(norm.shape.rows), kBlockRows * norm.shape.width(), [&](int64_t begin, int64_t end) {
    if (dtype == DType::kFloat32)
      backward_blocks_float32(norm, begin, end);
    else
      backward_blocks_bfloat16(norm, begin, end);
  });
  add_partials(norm, 0, norm.query_gradient);
  add_partials(norm, norm.shape.head_dim, norm.key_gradient);
}

}  // namespace penstock
