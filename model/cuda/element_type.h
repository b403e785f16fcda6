// From a DType to a kernel's element type.
#pragma once

#include "core/bf16.h"
#include "core/check.h"
#include "core/dtype.h"

namespace penstock {

// Calls work(T{}) with T = float or bf16_bits.
template <class Work>
void with_element_type(DType dtype, const Work& work) {
  if (dtype == DType::kFloat32) return work(float{});
  CHECK(dtype == DType::kBFloat16);
  work(bf16_bits{});
}

}  // namespace penstock
