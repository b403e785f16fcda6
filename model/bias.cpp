#include "model/bias.h"

#include <algorithm>

#include "core/check.h"

namespace penstock {

FusedBias::FusedBias(const LayerLayout& layout, const std::vector<std::string>& names, DType wire, DType compute)
    : wire_(wire), compute_(compute) {
  for (const std::string& name : names) {
    places_.push_back(layout.tensor(name));
    elements_ += static_cast<int64_t>(places_.back().element_count);
  }
}

bool FusedBias::trains() const {
  return std::any_of(places_.begin(), places_.end(), [](const TensorPlace& place) { return place.spec.trainable; });
}

void FusedBias::gather(Maths& maths, std::span<const std::byte> weights, void* scratch) const {
  const uint64_t wire_bytes = dtype_bytes(wire_);
  auto* packed = static_cast<std::byte*>(scratch);
  for (const TensorPlace& place : places_) {
    CHECK_LE((place.offset + place.element_count) * wire_bytes, weights.size());
    maths.cast(wire_, weights.data() + place.offset * wire_bytes, compute_, packed,
               static_cast<int64_t>(place.element_count));
    packed += place.element_count * dtype_bytes(compute_);
  }
}

void FusedBias::add_gradient(Maths& maths, const MatrixView& d_y, std::span<float> gradient, bool accumulate) const {
  if (!exists()) return;
  CHECK_EQ(d_y.cols, elements_);
  int64_t first_column = 0;
  for (const TensorPlace& place : places_) {
    const auto columns = static_cast<int64_t>(place.element_count);
    if (place.spec.trainable) {
      CHECK_LE(place.offset + place.element_count, gradient.size());
      maths.add_column_sums(
          compute_, {d_y.data, d_y.rows, d_y.cols, first_column, columns, gradient.data() + place.offset, accumulate});
    }
    first_column += columns;
  }
}

}  // namespace penstock
