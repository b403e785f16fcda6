// RMSNorm of one row, forward and backward: what the norm of hidden states and the norm of heads share.
// Only for row kernels: everything is inlined into them and compiled for their instruction set.
#pragma once

#include <cmath>
#include <cstdint>

#include "model/row_lanes.h"

namespace penstock::norm_row {

// x * rstd, rounded to T as the stored value would be.
template <typename T>
PENSTOCK_LANES_INLINE lanes::Float16 scaled(const lanes::Float16& x, float rstd) {
  T rounded[lanes::kLaneCount];
  lanes::store(rounded, x * rstd);
  return lanes::load(rounded);
}

// Returns rstd. `normed` may be `x`.
template <typename T>
PENSTOCK_LANES_INLINE float forward(int64_t width, float eps, const T* x, const float* weight, T* normed) {
  lanes::Float16 squares = {};
  lanes::for_row(
      width, [&](const auto& read, const auto&) __attribute__((always_inline)) {
        const lanes::Float16 value = read(x);
        squares += value * value;
      });
  const float rstd = 1.0f / std::sqrt(lanes::sum(squares) / static_cast<float>(width) + eps);
  lanes::for_row(
      width, [&](const auto& read, const auto& write)
                 __attribute__((always_inline)) { write(normed, scaled<T>(read(x), rstd) * read(weight)); });
  return rstd;
}

// d_x = d_skip + rstd * (g - x_hat * mean(g * x_hat)) with g = d_normed * weight, x_hat = x * rstd.
template <typename T>
struct Backward {
  int64_t width;
  const T* x;
  const float* weight;
  float rstd;
  const T* d_normed;
  const T* d_skip;  // null: nothing
  T* d_x;           // null: not wanted; may be d_normed
  T* normed;        // rebuilt; null: not wanted
  float* partial;   // the weight's gradient is added; null: not wanted
};
template <typename T>
PENSTOCK_LANES_INLINE void backward(const Backward<T>& row) {
  lanes::Float16 products = {};
  lanes::for_row(
      row.width, [&](const auto& read, const auto& write) __attribute__((always_inline)) {
        const lanes::Float16 value = read(row.x), weight = read(row.weight), gradient = read(row.d_normed);
        const lanes::Float16 rounded = scaled<T>(value, row.rstd);
        products += (gradient * weight) * (value * row.rstd);
        if (row.partial != nullptr) write(row.partial, read(row.partial) + gradient * rounded);
        if (row.normed != nullptr) write(row.normed, rounded * weight);
      });
  if (row.d_x == nullptr) return;
  const float mean = lanes::sum(products) / static_cast<float>(row.width);
  lanes::for_row(
      row.width, [&](const auto& read, const auto& write) __attribute__((always_inline)) {
        const lanes::Float16 projected = read(row.d_normed) * read(row.weight) - (read(row.x) * row.rstd) * mean;
        const lanes::Float16 d_value = projected * row.rstd;
        write(row.d_x, row.d_skip == nullptr ? d_value : read(row.d_skip) + d_value);
      });
}

}  // namespace penstock::norm_row
