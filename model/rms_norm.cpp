#include "model/rms_norm.h"

#include <algorithm>

#include "model/parallel_rows.h"
#include "model/rms_norm_row.h"

namespace penstock {

namespace {

// Rows whose part of the weight's gradient is summed before blocks are. Fixed: it decides the order of the sum.
constexpr int64_t kBlockRows = 64;

template <typename T>
PENSTOCK_LANES_INLINE void forward_rows(const RmsNormForward& norm, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const int64_t first = row * norm.hidden;
    const float rstd = norm_row::forward(norm.hidden, norm.eps, static_cast<const T*>(norm.x) + first, norm.weight,
                                         static_cast<T*>(norm.normed) + first);
    if (norm.rstd != nullptr) norm.rstd[row] = rstd;
  }
}

template <typename T>
PENSTOCK_LANES_INLINE void backward_row(const RmsNormBackward& norm, int64_t row, float* partial) {
  const int64_t first = row * norm.hidden;
  norm_row::backward<T>({.width = norm.hidden,
                         .x = static_cast<const T*>(norm.x) + first,
                         .weight = norm.weight,
                         .rstd = norm.rstd[row],
                         .d_normed = static_cast<const T*>(norm.d_normed) + first,
                         .d_skip = norm.d_skip == nullptr ? nullptr : static_cast<const T*>(norm.d_skip) + first,
                         .d_x = norm.d_x == nullptr ? nullptr : static_cast<T*>(norm.d_x) + first,
                         .normed = norm.normed == nullptr ? nullptr : static_cast<T*>(norm.normed) + first,
                         .partial = partial});
}

template <typename T>
PENSTOCK_LANES_INLINE void backward_blocks(const RmsNormBackward& norm, int64_t begin, int64_t end) {
  for (int64_t block = begin; block < end; ++block) {
    float* partial = norm.weight_gradient == nullptr ? nullptr : norm.partials + block * norm.hidden;
    if (partial != nullptr) std::fill(partial, partial + norm.hidden, 0.0f);
    const int64_t last = std::min((block + 1) * kBlockRows, norm.rows);
    for (int64_t row = block * kBlockRows; row < last; ++row) backward_row<T>(norm, row, partial);
  }
}

PENSTOCK_ROW_KERNEL void forward_rows_float32(const RmsNormForward& norm, int64_t begin, int64_t end) {
  forward_rows<float>(norm, begin, end);
}
PENSTOCK_ROW_KERNEL void forward_rows_bfloat16(const RmsNormForward& norm, int64_t begin, int64_t end) {
  forward_rows<bf16_bits>(norm, begin, end);
}
PENSTOCK_ROW_KERNEL void backward_blocks_float32(const RmsNormBackward& norm, int64_t begin, int64_t end) {
  backward_blocks<float>(norm, begin, end);
}
PENSTOCK_ROW_KERNEL void backward_blocks_bfloat16(const RmsNormBackward& norm, int64_t begin, int64_t end) {
  backward_blocks<bf16_bits>(norm, begin, end);
}

int64_t block_count(int64_t rows) { return (rows + kBlockRows - 1) / kBlockRows; }

}  // namespace

void rms_norm(DType dtype, const RmsNormForward& norm) {
  parallel_rows(norm.rows, norm.hidden, [&](int64_t begin, int64_t end) {
    if (dtype == DType::kFloat32)
      forward_rows_float32(norm, begin, end);
    else
      forward_rows_bfloat16(norm, begin, end);
  });
}

int64_t rms_norm_partials(int64_t rows, int64_t hidden) { return block_count(rows) * hidden; }

void rms_norm_backward(DType dtype, const RmsNormBackward& norm) {
  const int64_t blocks = block_count(norm.rows);
  parallel_rows(blocks, kBlockRows * norm.hidden, [&](int64_t begin, int64_t end) {
    if (dtype == DType::kFloat32)
      backward_blocks_float32(norm, begin, end);
    else
      backward_blocks_bfloat16(norm, begin, end);
  });
  if (norm.weight_gradient == nullptr) return;
  for (int64_t block = 0; block < blocks; ++block) {
    const float* partial = norm.partials + block * norm.hidden;
    const bool adds = block > 0 || norm.accumulate;
    for (int64_t i = 0; i < norm.hidden; ++i) {
      norm.weight_gradient[i] = adds ? norm.weight_gradient[i] + partial[i] : partial[i];
    }
  }
}

}  // namespace penstock
