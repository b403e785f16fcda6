// How a layer's master weights, moments and gradient are stored on the host (DESIGN.md section 5).
//
//   format   wire         state plane(s)           gradient   resident B/param   moved B/param per update
//   exact    hi16 (bf16)  lo16, m fp32, v fp32     bf16       14                 26
//   float32  fp32 master  m fp32, v fp32           fp32       16                 28
#pragma once

#include <cstdint>
#include <string_view>

#include "core/dtype.h"

namespace penstock {

enum class StateFormat : uint8_t { kExact, kFloat32 };

constexpr DType wire_dtype(StateFormat format) {
  return format == StateFormat::kExact ? DType::kBFloat16 : DType::kFloat32;
}
constexpr DType gradient_dtype(StateFormat format) { return wire_dtype(format); }
// Remainder and moments, without wire weights and gradient.
constexpr uint64_t state_bytes_per_element(StateFormat format) { return format == StateFormat::kExact ? 10 : 8; }
constexpr std::string_view state_format_name(StateFormat format) {
  return format == StateFormat::kExact ? "exact" : "float32";
}

}  // namespace penstock
