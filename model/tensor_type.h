// LibTorch's name of an element type.
#pragma once

#include <c10/core/ScalarType.h>

#include "core/dtype.h"

namespace penstock {

constexpr c10::ScalarType tensor_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return c10::ScalarType::Float;
    case DType::kBFloat16:
      return c10::ScalarType::BFloat16;
    case DType::kFloat16:
      return c10::ScalarType::Half;
  }
  return c10::ScalarType::Undefined;
}

}  // namespace penstock
