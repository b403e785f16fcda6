#include "optim/state_planes.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"

namespace penstock {
namespace {

constexpr uintptr_t kPlaneAlignment = 64;

void check_aligned(const void* plane) { CHECK_EQ(reinterpret_cast<uintptr_t>(plane) % kPlaneAlignment, 0u); }

class PlaneCutter {
 public:
  PlaneCutter(std::byte* next, uint64_t elements) : next_(next), elements_(elements) {}

  template <typename T>
  void cut(T*& plane) {
    plane = reinterpret_cast<T*>(next_);
    check_aligned(plane);
    next_ += elements_ * sizeof(T);
  }
  void cut(MomentScales*& scales) {
    scales = reinterpret_cast<MomentScales*>(next_);
    check_aligned(scales);
  }

 private:
  std::byte* next_;
  uint64_t elements_;
};

// The end of the tensor that element `at` belongs to.
uint64_t tensor_end(const LayerLayout& layout, uint64_t at) {
  for (const TensorPlace& tensor : layout.tensors()) {
    if (at >= tensor.offset && at < tensor.offset + tensor.element_count) return tensor.offset + tensor.element_count;
  }
  return layout.trainable_elements();  // padding
}

void clear_scales(const LayerLayout& layout, const StatePlanes& planes, uint64_t begin, uint64_t end) {
  for (uint64_t at = begin; at < end;) {
    const uint64_t block = at / kScaleBlockElements;
    const uint64_t block_begin = block * kScaleBlockElements;
    const uint64_t block_end = std::min(block_begin + kScaleBlockElements, tensor_end(layout, at));
    // A whole block has no code left and need not be looked at.
    const bool is_whole = begin <= block_begin && block_end <= end;
    const auto is_clear = [](uint16_t codes) { return codes == 0; };
    if (is_whole || std::all_of(planes.moments + block_begin, planes.moments + block_end, is_clear)) {
      planes.scales[block] = {};
    }
    at = block_begin + kScaleBlockElements;
  }
}

}  // namespace

StatePlanes state_planes(const LayerStateView& layer) {
  CHECK(layer.layout != nullptr);
  const uint64_t elements = layer.layout->trainable_elements();
  CHECK_EQ(layer.wire.size(), layer.layout->slab_bytes(dtype_bytes(wire_dtype(layer.format))));
  CHECK_EQ(layer.state.size(), state_bytes(layer.format, elements));

  check_aligned(layer.wire.data());
  check_aligned(layer.state.data());
  PlaneCutter state(layer.state.data(), elements);
  StatePlanes planes;
  if (layer.format == StateFormat::kFloat32) {
    planes.master = reinterpret_cast<float*>(layer.wire.data());
  } else {
    planes.hi = reinterpret_cast<bf16_bits*>(layer.wire.data());
  }
  switch (layer.format) {
    case StateFormat::kExact:
      state.cut(planes.lo);
      [[fallthrough]];
    case StateFormat::kFloat32:
      state.cut(planes.m);
      state.cut(planes.v);
      break;
    case StateFormat::kCompact:
      state.cut(planes.m16);
      state.cut(planes.v16);
      break;
    case StateFormat::kCompact8:
      state.cut(planes.moments);
      state.cut(planes.scales);
      break;
  }
  return planes;
}

void clear_moments(const LayerStateView& layer, uint64_t first, uint64_t count) {
  CHECK_LE(first, layer.layout->trainable_elements());
  CHECK_LE(count, layer.layout->trainable_elements() - first);
  const StatePlanes planes = state_planes(layer);
  const auto clear = [first, count](auto* plane) {
    if (plane != nullptr) std::memset(plane + first, 0, count * sizeof(*plane));
  };
  clear(planes.lo);
  clear(planes.m);
  clear(planes.v);
  clear(planes.m16);
  clear(planes.v16);
  clear(planes.moments);
  if (planes.scales != nullptr) clear_scales(*layer.layout, planes, first, first + count);
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
