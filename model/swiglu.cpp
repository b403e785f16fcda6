#include "model/swiglu.h"

#include "model/parallel_rows.h"
#include "model/row_lanes.h"

namespace penstock {

namespace {

struct SwigluRows {
  int64_t width;
  const void* gate_up;
  const void* d_activated;
  void* activated;
  void* d_gate_up;
};

PENSTOCK_LANES_INLINE lanes::Float16 sigmoid(const lanes::Float16& x) { return 1.0f / (1.0f + lanes::exponential(-x)); }

template <typename T>
PENSTOCK_LANES_INLINE void forward_rows(const SwigluRows& swiglu, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const T* gate = static_cast<const T*>(swiglu.gate_up) + row * 2 * swiglu.width;
    const T* up = gate + swiglu.width;
    T* activated = static_cast<T*>(swiglu.activated) + row * swiglu.width;
    lanes::for_row(
        swiglu.width, [&](const auto& read, const auto& write) __attribute__((always_inline)) {
          const lanes::Float16 g = read(gate);
          write(activated, g * sigmoid(g) * read(up));
        });
  }
}

// silu'(g) = s (1 + g (1 - s)) with s = sigmoid(g).
template <typename T>
PENSTOCK_LANES_INLINE void backward_rows(const SwigluRows& swiglu, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const T* gate = static_cast<const T*>(swiglu.gate_up) + row * 2 * swiglu.width;
    const T* up = gate + swiglu.width;
    const T* d_activated = static_cast<const T*>(swiglu.d_activated) + row * swiglu.width;
    T* activated = static_cast<T*>(swiglu.activated) + row * swiglu.width;
    T* d_gate = static_cast<T*>(swiglu.d_gate_up) + row * 2 * swiglu.width;
    T* d_up = d_gate + swiglu.width;
    lanes::for_row(
        swiglu.width, [&](const auto& read, const auto& write) __attribute__((always_inline)) {
          const lanes::Float16 g = read(gate), u = read(up), d = read(d_activated);
          const lanes::Float16 s = sigmoid(g);
          const lanes::Float16 silu = g * s;
          write(activated, silu * u);
          write(d_up, d * silu);
          write(d_gate, d * u * (s * (1.0f + g * (1.0f - s))));
        });
  }
}

PENSTOCK_ROW_KERNEL void forward_rows_float32(const SwigluRows& swiglu, int64_t begin, int64_t end) {
  forward_rows<float>(swiglu, begin, end);
}
PENSTOCK_ROW_KERNEL void forward_rows_bfloat16(const SwigluRows& swiglu, int64_t begin, int64_t end) {
  forward_rows<bf16_bits>(swiglu, begin, end);
}
PENSTOCK_ROW_KERNEL void backward_rows_float32(const SwigluRows& swiglu, int64_t begin, int64_t end) {
  backward_rows<float>(swiglu, begin, end);
}
PENSTOCK_ROW_KERNEL void backward_rows_bfloat16(const SwigluRows& swiglu, int64_t begin, int64_t end) {
  backward_rows<bf16_bits>(swiglu, begin, end);
}

}  // namespace

void swiglu(DType dtype, int64_t rows, int64_t width, const void* gate_up, void* activated) {
  const SwigluRows arguments{width, gate_up, nullptr, activated, nullptr};
  parallel_rows(rows, 4 * width, [&](int64_t begin, int64_t end) {
    if (dtype == DType::kFloat32)
      forward_rows_float32(arguments, begin, end);
    else
      forward_rows_bfloat16(arguments, begin, end);
  });
}

void swiglu_backward(DType dtype, int64_t rows, int64_t width, const void* gate_up, const void* d_activated,
                     void* activated, void* d_gate_up) {
  const SwigluRows arguments{width, gate_up, d_activated, activated, d_gate_up};
  parallel_rows(rows, 6 * width, [&](int64_t begin, int64_t end) {
    if (dtype == DType::kFloat32)
      backward_rows_float32(arguments, begin, end);
    else
      backward_rows_bfloat16(arguments, begin, end);
  });
}

}  // namespace penstock
