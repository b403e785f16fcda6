// Planned memory as a LibTorch tensor. A view: it owns nothing, and its memory must outlive the ops that use it.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/Device.h>

#include "core/dtype.h"
#include "model/tensor_type.h"

namespace penstock {

// The device is given, not asked of the driver for each pointer, which from_blob does without a target device.
// ATen has no read-only tensors: operands that are only read lose their const here.
inline at::Tensor tensor_view(const void* data, at::IntArrayRef sizes, at::ScalarType type, c10::Device device) {
  return at::for_blob(const_cast<void*>(data), sizes)
      .options(at::TensorOptions(type).device(device))
      .target_device(device)
      .make_tensor();
}

inline at::Tensor tensor_view(const void* data, at::IntArrayRef sizes, at::IntArrayRef strides, at::ScalarType type,
                              c10::Device device) {
  return at::for_blob(const_cast<void*>(data), sizes)
      .strides(strides)
      .options(at::TensorOptions(type).device(device))
      .target_device(device)
      .make_tensor();
}

inline const std::byte* element_at(DType dtype, const void* base, int64_t index) {
  return static_cast<const std::byte*>(base) + index * static_cast<int64_t>(dtype_bytes(dtype));
}

}  // namespace penstock
