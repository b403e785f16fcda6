#include "streaming/weight_values.h"

#include <cstring>

#include "core/bf16.h"
#include "core/check.h"
#include "optim/cast_kernels.h"
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
  if (view.format == StateFormat::kExact) {
    for (size_t i = 0; i < values.size(); ++i) wire[i] = split_master(values[i]).hi;
  } else {
    cast_to_bfloat16(values, {wire, values.size()});
  }
}

std::span<std::byte> wire_elements(const LayerStateView& view, const TensorPlace& place, uint64_t first,
                                   uint64_t count) {
  CHECK_LE(first, place.element_count);
  CHECK_LE(count, place.element_count - first);
  const uint64_t width = dtype_bytes(wire_dtype(view.format));
  CHECK_LE((place.offset + first + count) * width, view.wire.size());
  return view.wire.subspan((place.offset + first) * width, count * width);
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
    cast_to_bfloat16({master, count}, {reinterpret_cast<bf16_bits*>(out.data()), count});
    return;
  }
  CHECK(dtype == DType::kFloat32);
  const auto* hi = reinterpret_cast<const bf16_bits*>(wire.data());
  auto* to = reinterpret_cast<float*>(out.data());
  if (view.format != StateFormat::kExact || !has_state(view, place)) {
    cast_to_float({hi, count}, {to, count});
    return;
  }
  const uint16_t* lo = state_planes(view).lo + place.offset + first;
  for (size_t i = 0; i < count; ++i) to[i] = join_master(hi[i], lo[i]);
}

}  // namespace penstock
