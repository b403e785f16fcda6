#include "optim/state_planes.h"

#include "core/check.h"

namespace penstock {
namespace {

constexpr uintptr_t kPlaneAlignment = 64;

void check_aligned(const void* plane) { CHECK_EQ(reinterpret_cast<uintptr_t>(plane) % kPlaneAlignment, 0u); }

}  // namespace

StatePlanes state_planes(const LayerStateView& layer) {
  CHECK(layer.layout != nullptr);
  const uint64_t elements = layer.layout->trainable_elements();
  CHECK_EQ(layer.wire.size(), layer.layout->slab_bytes(dtype_bytes(wire_dtype(layer.format))));
  CHECK_EQ(layer.state.size(), elements * state_bytes_per_element(layer.format));

  StatePlanes planes;
  std::byte* next = layer.state.data();
  if (layer.format == StateFormat::kExact) {
    planes.hi = reinterpret_cast<bf16_bits*>(layer.wire.data());
    planes.lo = reinterpret_cast<uint16_t*>(next);
    next += elements * sizeof(uint16_t);
  } else {
    planes.master = reinterpret_cast<float*>(layer.wire.data());
  }
  planes.m = reinterpret_cast<float*>(next);
  planes.v = planes.m + elements;
  check_aligned(layer.wire.data());
  check_aligned(layer.state.data());
  check_aligned(planes.m);
  check_aligned(planes.v);
  return planes;
}

void check_gradient(const LayerGradientView& gradient) {
  CHECK(gradient.layout != nullptr);
  CHECK(gradient.dtype == DType::kBFloat16 || gradient.dtype == DType::kFloat32);
  CHECK_EQ(gradient.bytes.size(), gradient.layout->trainable_bytes(dtype_bytes(gradient.dtype)));
  check_aligned(gradient.bytes.data());
  if (gradient.touched_rows.empty()) return;
  CHECK_EQ(gradient.layout->tensors().size(), size_t{1});
  const int64_t row_count = gradient.layout->tensors()[0].spec.shape[0];
  CHECK_EQ(gradient.touched_rows.size(), static_cast<size_t>(row_count));
}

}  // namespace penstock
