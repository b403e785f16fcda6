// The MLP's gate over packed rows, forward and backward (model/swiglu.h).
// Bytes per element of `activated`: 3 elements forward (gate, up -> activated), 6 backward (gate, up, d_activated ->
// activated, d_gate, d_up): 6 and 12 bytes in bf16. The goal is 80% of peak bandwidth.
// Arithmetic: 4.8 TB/s are 0.8e12 elements a second forward in bf16, for each of which an H200 has some 37
// instructions. The accurate sigmoid alone takes 20, so bf16 uses the quick one, whose error its rounding hides; fp32
// has twice the bytes and thus the time for the accurate one.
// An item is a chunk of 16 bytes of each operand. Rows whose width is no multiple of 8 elements (4 in fp32) move
// element by element.
#pragma once

#include "model/cuda/kernel_math.h"
#include "model/cuda/row_items.h"
#include "model/cuda/special_functions.h"
#include "model/cuda/vector_access.h"

namespace penstock {

// e^(-x) is infinite far below zero, and the result 0: no NaN arises.
template <class T>
PENSTOCK_KERNEL_CODE float sigmoid(float x) {
  if constexpr (sizeof(T) == sizeof(float)) {
    return 1.0f / (1.0f + kernel_math::exponential(-x));
  } else {
    return quick_reciprocal(1.0f + quick_exponential(-x));
  }
}

template <class T>
struct SwigluKernel {
  int64_t rows, width;
  const T* gate_up;
  T* activated;

  template <class Block>
  PENSTOCK_KERNEL_CODE void operator()(Block& block) const {
    constexpr int kElements = kChunkElements<T>;
    for_items(block, rows, chunk_count(width, kElements), [this](int64_t row, int64_t chunk) {
      const int64_t first = chunk * kElements;
      const T* gates = gate_up + row * 2 * width;
      const Chunk<T> gate = load_chunk(gates, first, width), up = load_chunk(gates + width, first, width);
      Chunk<T> out;
      PENSTOCK_UNROLL
      for (int i = 0; i < kElements; ++i) {
        const float g = gate.value(i);
        out.set(i, g * sigmoid<T>(g) * up.value(i));
      }
      store_chunk(activated + row * width, first, width, out);
    });
  }
};

// silu'(g) = s (1 + g (1 - s)) with s = sigmoid(g).
// d_activated may be the buffer `activated`: a thread reads a chunk before it writes the same chunk, and no other
// thread touches it.
template <class T>
struct SwigluBackwardKernel {
  int64_t rows, width;
  const T* gate_up;
  const T* d_activated;
  T* activated;
  T* d_gate_up;

  template <class Block>
  PENSTOCK_KERNEL_CODE void operator()(Block& block) const {
    for_items(block, rows, chunk_count(width, kChunkElements<T>),
              [this](int64_t row, int64_t chunk) { differentiate(row, chunk * kChunkElements<T>); });
  }

 private:
  PENSTOCK_KERNEL_CODE void differentiate(int64_t row, int64_t first) const {
    const T* gates = gate_up + row * 2 * width;
    T* d_gates = d_gate_up + row * 2 * width;
    Chunk<T> gate = load_chunk(gates, first, width), up = load_chunk(gates + width, first, width);
    Chunk<T> out = load_chunk(d_activated + row * width, first, width);
    PENSTOCK_UNROLL
    for (int i = 0; i < kChunkElements<T>; ++i) {
      const float g = gate.value(i), u = up.value(i), d = out.value(i);
      const float s = sigmoid<T>(g), silu = g * s;
      out.set(i, silu * u);
      up.set(i, d * silu);
      gate.set(i, d * u * (s * (1.0f + g * (1.0f - s))));
    }
    store_chunk(activated + row * width, first, width, out);
    store_chunk(d_gates + width, first, width, up);
    store_chunk(d_gates, first, width, gate);
  }
};

}  // namespace penstock
