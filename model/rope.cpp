#include "model/rope.h"

#include <cmath>

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

void rope_angles(int64_t tokens, const int32_t* positions, const RopeFrequencies& frequencies,
                 const RopeAngles& angles) {
  const auto half = static_cast<int64_t>(frequencies.inverse.size());
  constexpr int64_t kSineWork = 16;  // one angle costs about as much as that many multiplications
  parallel_rows(tokens, half * kSineWork, [&](int64_t begin, int64_t end) {
    for (int64_t token = begin; token < end; ++token) {
      const auto position = static_cast<float>(positions[token]);
      for (int64_t i = 0; i < half; ++i) {
        const float angle = position * frequencies.inverse[static_cast<size_t>(i)];
        angles.cosines[token * half + i] = std::cos(angle) * frequencies.scale;
        angles.sines[token * half + i] = std::sin(angle) * frequencies.scale;
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
