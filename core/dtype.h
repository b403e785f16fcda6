// Element types of tensors in memory and in files.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/check.h"

namespace penstock {

enum class DType : uint8_t { kFloat32, kBFloat16, kFloat16 };

constexpr uint64_t dtype_bytes(DType dtype) { return dtype == DType::kFloat32 ? 4 : 2; }

// "float32", "bfloat16", "float16": the names Hugging Face uses.
constexpr std::string_view dtype_name(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return "float32";
    case DType::kBFloat16:
      return "bfloat16";
    case DType::kFloat16:
      return "float16";
  }
  return "?";
}

}  // namespace penstock
