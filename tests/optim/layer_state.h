// One layer's bytes for tests: wire weights, state and gradient planes with a pattern in the padding.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <new>
#include <span>
#include <string>
#include <vector>

#include "core/bf16.h"
#include "core/layer_layout.h"
#include "core/random.h"
#include "optim/host_optimizer.h"
#include "optim/state_planes.h"

namespace penstock {

inline constexpr auto kPaddingPattern = std::byte{0xFF};  // a NaN in every plane: reading padding cannot go unnoticed

class AlignedBytes {
 public:
  explicit AlignedBytes(uint64_t size)
      : data_(static_cast<std::byte*>(::operator new (size, std::align_val_t{256}))), size_(size) {
    std::memset(data_, static_cast<int>(kPaddingPattern), size);
  }
  ~AlignedBytes() { ::operator delete (data_, std::align_val_t{256}); }
  AlignedBytes(const AlignedBytes&) = delete;
  AlignedBytes& operator=(const AlignedBytes&) = delete;

  std::span<std::byte> span() { return {data_, size_}; }
  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(data_);
  }

 private:
  std::byte* data_;
  uint64_t size_;
};

class TestLayer {
 public:
  TestLayer(std::vector<TensorSpec> tensors, StateFormat format)
      : TestLayer(std::move(tensors), format, gradient_dtype(format)) {}
  TestLayer(std::vector<TensorSpec> tensors, StateFormat format, DType gradient_type)
      : layout(std::move(tensors)),
        format_(format),
        gradient_dtype_(gradient_type),
        wire(layout.slab_bytes(dtype_bytes(wire_dtype(format)))),
        state(state_bytes(format, layout.slab_elements())),
        gradient(layout.slab_bytes(dtype_bytes(gradient_type))) {
    if (MomentScales* scales = state_planes(view()).scales) {  // a run's memory starts as zeros
      std::fill_n(scales, layout.slab_elements() / kScaleBlockElements, MomentScales{});
    }
  }

  LayerStateView view() { return {&layout, format_, wire.span(), state.span()}; }
  LayerGradientView gradient_view(std::span<const uint8_t> touched_rows = {}) {
    return {&layout, gradient_dtype_, gradient.span(), touched_rows};
  }

  // Values are given per parameter, tensors one after another without padding.
  void set_masters(std::span<const float> values) {
    size_t next = 0;
    for (const TensorPlace& tensor : layout.tensors()) {
      write_master(view(), tensor, values.subspan(next, tensor.element_count));
      next += tensor.element_count;
    }
  }
  std::vector<float> masters() {
    std::vector<float> values(layout.parameter_count());
    size_t next = 0;
    for (const TensorPlace& tensor : layout.tensors()) {
      read_master(view(), tensor, std::span(values).subspan(next, tensor.element_count));
      next += tensor.element_count;
    }
    return values;
  }
  void set_gradients(std::span<const float> values) {
    size_t next = 0;
    for (const TensorPlace& tensor : layout.tensors()) {
      for (uint64_t i = 0; i < tensor.element_count; ++i, ++next) {
        if (gradient_dtype_ == DType::kBFloat16) {
          gradient.as<bf16_bits>()[tensor.offset + i] = bf16_from_float(values[next]);
        } else {
          gradient.as<float>()[tensor.offset + i] = values[next];
        }
      }
    }
  }

  // Everything but the gradient, to compare whole layers.
  std::vector<std::byte> bytes() {
    std::vector<std::byte> all(wire.span().begin(), wire.span().end());
    all.insert(all.end(), state.span().begin(), state.span().end());
    return all;
  }

  LayerLayout layout;

 private:
  StateFormat format_;
  DType gradient_dtype_;

 public:
  AlignedBytes wire;
  AlignedBytes state;
  AlignedBytes gradient;
};

// Values as gradients have them: spread over many binades, each exactly a bf16.
inline std::vector<float> random_values(uint64_t seed, uint64_t stream, size_t count, double scale) {
  const CounterRandom random(seed, stream);
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) {
    const double magnitude = std::exp2(-12.0 * random.uniform_double(2 * i));
    const double sign_and_size = 2.0 * random.uniform_double(2 * i + 1) - 1.0;
    values[i] = float_from_bf16(bf16_from_float(static_cast<float>(scale * magnitude * sign_and_size)));
  }
  return values;
}

// The first parameter whose bits differ, or -1.
inline int64_t first_difference(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::bit_cast<uint32_t>(a[i]) != std::bit_cast<uint32_t>(b[i])) return static_cast<int64_t>(i);
  }
  return -1;
}

}  // namespace penstock
