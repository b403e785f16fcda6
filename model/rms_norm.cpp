#include "model/rms_norm.h"

#include <algorithm>
#include <cmath>

#include "model/parallel_rows.h"
#include "model/row_lanes.h"

namespace penstock {

namespace {

// Rows whose part of the weight's gradient is summed before blocks are. Fixed: it decides the order of the sum.
constexpr int64_t kBlockRows = 64;

// x * rstd, rounded to T as the stored value would be.
template <typename T>
PENSTOCK_LANES_INLINE lanes::Float16 scaled(const lanes::Float16& x, float rstd) {
  T rounded[lanes::kLaneCount];
  lanes::store(rounded, x * rstd);
  return lanes::load(rounded);
}

template <typename T>
PENSTOCK_LANES_INLINE void forward_rows(const RmsNormForward& norm, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const T* x = static_cast<const T*>(norm.x) + row * norm.hidden;
    T* normed = static_cast<T*>(norm.normed) + row * norm.hidden;
    lanes::Float16 squares = {};
    lanes::for_row(
        norm.hidden, [&](const auto& read, const auto&) __attribute__((always_inline)) {
          const lanes::Float16 value = read(x);
          squares += value * value;
        });
    const float rstd = 1.0f / std::sqrt(lanes::sum(squares) / static_cast<float>(norm.hidden) + norm.eps);
    lanes::for_row(
        norm.hidden, [&](const auto& read, const auto& write) __attribute__((always_inline)) {
          write(normed, scaled<T>(read(x), rstd) * read(norm.weight));
        });
    norm.rstd[row] = rstd;
  }
}

// d_x = d_skip + rstd * (g - x_hat * mean(g * x_hat)) with g = d_normed * weight, x_hat = x * rstd.
template <typename T>
PENSTOCK_LANES_INLINE void backward_row(const RmsNormBackward& norm, int64_t row, float* partial) {
  const int64_t first = row * norm.hidden;
  const T* x = static_cast<const T*>(norm.x) + first;
  const T* d_normed = static_cast<const T*>(norm.d_normed) + first;
  const T* d_skip = norm.d_skip == nullptr ? nullptr : static_cast<const T*>(norm.d_skip) + first;
  T* normed = norm.normed == nullptr ? nullptr : static_cast<T*>(norm.normed) + first;
  T* d_x = static_cast<T*>(norm.d_x) + first;
  const float rstd = norm.rstd[row];
  lanes::Float16 products = {};
  lanes::for_row(
      norm.hidden, [&](const auto& read, const auto& write) __attribute__((always_inline)) {
        const lanes::Float16 value = read(x), weight = read(norm.weight), gradient = read(d_normed);
        const lanes::Float16 rounded = scaled<T>(value, rstd);
        products += (gradient * weight) * (value * rstd);
        write(partial, read(partial) + gradient * rounded);
        if (normed != nullptr) write(normed, rounded * weight);
      });
  const float mean = lanes::sum(products) / static_cast<float>(norm.hidden);
  lanes::for_row(
      norm.hidden, [&](const auto& read, const auto& write) __attribute__((always_inline)) {
        const lanes::Float16 projected = read(d_normed) * read(norm.weight) - (read(x) * rstd) * mean;
        const lanes::Float16 d_value = projected * rstd;
        write(d_x, d_skip == nullptr ? d_value : read(d_skip) + d_value);
      });
}

template <typename T>
PENSTOCK_LANES_INLINE void backward_blocks(const RmsNormBackward& norm, int64_t begin, int64_t end) {
  for (int64_t block = begin; block < end; ++block) {
    float* partial = norm.partials + block * norm.hidden;
    std::fill(partial, partial + norm.hidden, 0.0f);
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
  for (int64_t block = 0; block < blocks; ++block) {
    const float* partial = norm.partials + block * norm.hidden;
    const bool adds = block > 0 || norm.accumulate;
    for (int64_t i = 0; i < norm.hidden; ++i) {
      norm.weight_gradient[i] = adds ? norm.weight_gradient[i] + partial[i] : partial[i];
    }
  }
}

}  // namespace penstock
