// How a layer's master weights, moments and gradient are stored on the host (DESIGN.md section 5).
//
//   format    wire (master)              state plane(s)                     gradient  resident  moved per update
//   exact     hi16 (bf16)                lo16, m fp32, v fp32               bf16      14 B      26 B
//   float32   fp32                       m fp32, v fp32                     fp32      16 B      28 B
//   compact   bf16, stochastic rounding  m bf16, v bf16                     bf16       8 B      14 B
//   compact8  bf16, stochastic rounding  m 8 bit, v 8 bit, a scale each     bf16       6.1 B    10.1 B
//                                        for every kScaleBlockElements
#pragma once

#include <cstdint>
#include <string_view>

#include "core/check.h"
#include "core/dtype.h"

namespace penstock {

enum class StateFormat : uint8_t { kExact, kFloat32, kCompact, kCompact8 };
inline constexpr int kStateFormatCount = 4;

// Elements that share the scales of `compact8`. Tensors start on borders of as many elements in every layout, so a
// block never spans two; every part of an update consists of whole ones.
inline constexpr uint64_t kScaleBlockElements = 128;

constexpr DType wire_dtype(StateFormat format) {
  return format == StateFormat::kFloat32 ? DType::kFloat32 : DType::kBFloat16;
}
constexpr DType gradient_dtype(StateFormat format) { return wire_dtype(format); }

// Remainder and moments of a layer, without wire weights and gradient. `elements` as in a layout's planes: a multiple
// of kScaleBlockElements.
constexpr uint64_t state_bytes(StateFormat format, uint64_t elements) {
  CHECK_EQ(elements % kScaleBlockElements, 0u);
  switch (format) {
    case StateFormat::kExact:
      return elements * (2 + 4 + 4);
    case StateFormat::kFloat32:
      return elements * (4 + 4);
    case StateFormat::kCompact:
      return elements * (2 + 2);
    case StateFormat::kCompact8:
      return elements * (1 + 1) + elements / kScaleBlockElements * 2 * sizeof(float);
  }
  return 0;
}

// Bytes per parameter of the master and its moments: what a checkpoint holds, and an update reads and writes.
constexpr double kept_bytes_per_parameter(StateFormat format) {
  const auto state = static_cast<double>(state_bytes(format, kScaleBlockElements));
  return static_cast<double>(dtype_bytes(wire_dtype(format))) + state / kScaleBlockElements;
}

// Bytes that one update moves between host memory and the cores, per parameter: the gradient is only read.
constexpr double moved_bytes_per_parameter(StateFormat format) {
  return 2 * kept_bytes_per_parameter(format) + static_cast<double>(dtype_bytes(gradient_dtype(format)));
}

constexpr std::string_view state_format_name(StateFormat format) {
  constexpr std::string_view kNames[kStateFormatCount] = {"exact", "float32", "compact", "compact8"};
  return kNames[static_cast<int>(format)];
}

}  // namespace penstock
