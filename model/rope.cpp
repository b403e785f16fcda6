#include "model/rope.h"

#include <cmath>

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/reciprocal.h>

#include "model/parallel_rows.h"
#include "model/row_lanes.h"

namespace penstock {

namespace {

template <typename T>
PENSTOCK_LANES_INLINE void rotate_rows(const RopeRows& rope, int64_t begin, int64_t end) {
  const int64_t half = rope.head_dim / 2;
  const float direction = rope.backward ? -1.0f : 1.0f;
  for (int64_t row = begin; row < end; ++row) {
    const float* cosines = rope.angles.cosines + row * half;
    const float* sines = rope.angles.sines + row * half;
    for (int64_t head = 0; head < rope.heads; ++head) {
      T* low = static_cast<T*>(rope.values) + row * rope.row_elements + head * rope.head_dim;
      T* high = low + half;
      lanes::for_row(
          half, [&](const auto& read, const auto& write) __attribute__((always_inline)) {
            const lanes::Float16 cosine = read(cosines), sine = read(sines) * direction, a = read(low), b = read(high);
            write(low, a * cosine - b * sine);
            write(high, b * cosine + a * sine);
          });
    }
  }
}

PENSTOCK_ROW_KERNEL void rotate_rows_float32(const RopeRows& rope, int64_t begin, int64_t end) {
  rotate_rows<float>(rope, begin, end);
}
PENSTOCK_ROW_KERNEL void rotate_rows_bfloat16(const RopeRows& rope, int64_t begin, int64_t end) {
  rotate_rows<bf16_bits>(rope, begin, end);
}

}  // namespace

std::vector<float> rope_inverse_frequencies(double theta, int64_t head_dim) {
  const at::Tensor exponents = at::arange(0, head_dim, 2, at::kFloat).div_(static_cast<double>(head_dim));
  const at::Tensor frequencies = at::reciprocal(at::pow(theta, exponents));
  const float* first = frequencies.const_data_ptr<float>();
  return std::vector<float>(first, first + frequencies.numel());
}

void rope_angles(std::span<const int32_t> positions, std::span<const float> inverse_frequencies,
                 const RopeAngles& angles) {
  const auto half = static_cast<int64_t>(inverse_frequencies.size());
  constexpr int64_t kSineWork = 16;  // one angle costs about as much as that many multiplications
  parallel_rows(static_cast<int64_t>(positions.size()), half * kSineWork, [&](int64_t begin, int64_t end) {
    for (int64_t token = begin; token < end; ++token) {
      const auto position = static_cast<float>(positions[static_cast<size_t>(token)]);
      for (int64_t i = 0; i < half; ++i) {
        const float angle = position * inverse_frequencies[static_cast<size_t>(i)];
        angles.cosines[token * half + i] = std::cos(angle);
        angles.sines[token * half + i] = std::sin(angle);
      }
    }
  });
}

void rope(DType dtype, const RopeRows& rope) {
  parallel_rows(rope.rows, rope.heads * rope.head_dim, [&](int64_t begin, int64_t end) {
    if (dtype == DType::kFloat32)
      rotate_rows_float32(rope, begin, end);
    else
      rotate_rows_bfloat16(rope, begin, end);
  });
}

}  // namespace penstock
