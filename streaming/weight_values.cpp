#include "streaming/weight_values.h"

#include <algorithm>
#include <cstring>

#include "core/bf16.h"
#include "core/check.h"
#include "optim/state_planes.h"

namespace penstock {

bool has_state(const LayerStateView& view, const TensorPlace& place) {
  return !view.state.empty() && place.spec.trainable;
}

void store_values(const LayerStateView& view, const TensorPlace& place, uint64_t first, std::span<const float> values) {
  if (has_state(view, place)) {
    write_master(view, place, first, values);
    return;
  }
  const std::span<std::byte> out = wire_elements(view, place, first, values.size());
  if (view.format == StateFormat::kFloat32) {
    std::memcpy(out.data(), values.data(), values.size_bytes());
    return;
  }
  auto* wire = reinterpret_cast<bf16_bits*>(out.data());
  for (size_t i = 0; i < values.size(); ++i) wire[i] = split_master(values[i]).hi;
}

std::span<std::byte> wire_elements(const LayerStateView& view, const TensorPlace& place, uint64_t first,
                                   uint64_t count) {
  CHECK_LE(first, place.element_count);
  CHECK_LE(count, place.element_count - first);
  const uint64_t width = dtype_bytes(wire_dtype(view.format));
  CHECK_LE((place.offset + first + count) * width, view.wire.size());
  return view.wire.subspan((place.offset + first) * width, count * width);
}

void clear_state(const LayerStateView& view, const TensorPlace& place, uint64_t first, uint64_t count) {
  if (!has_state(view, place)) return;
  CHECK_LE(first, place.element_count);
  CHECK_LE(count, place.element_count - first);
  const StatePlanes planes = state_planes(view);
  const uint64_t offset = place.offset + first;
  if (planes.lo != nullptr) std::fill_n(planes.lo + offset, count, uint16_t{0});
  std::fill_n(planes.m + offset, count, 0.0f);
  std::fill_n(planes.v + offset, count, 0.0f);
}

void read_values(const LayerStateView& view, const TensorPlace& place, DType dtype, uint64_t first,
                 std::span<std::byte> out) {
  const uint64_t count = out.size() / dtype_bytes(dtype);
  const std::span<const std::byte> wire = wire_elements(view, place, first, count);
  if (dtype == wire_dtype(view.format)) {
    std::memcpy(out.data(), wire.data(), out.size());
    return;
  }
  if (dtype == DType::kBFloat16) {
    const auto* master = reinterpret_cast<const float*>(wire.data());
    auto* to = reinterpret_cast<bf16_bits*>(out.data());
    for (size_t i = 0; i < count; ++i) to[i] = bf16_from_float(master[i]);
    return;
  }
  CHECK(dtype == DType::kFloat32 && view.format == StateFormat::kExact);
  const auto* hi = reinterpret_cast<const bf16_bits*>(wire.data());
  const uint16_t* lo = has_state(view, place) ? state_planes(view).lo + place.offset + first : nullptr;
  auto* to = reinterpret_cast<float*>(out.data());
  for (size_t i = 0; i < count; ++i) to[i] = lo != nullptr ? join_master(hi[i], lo[i]) : float_from_bf16(hi[i]);
}

}  // namespace penstock
