#include "model/fused_weight.h"

#include <cstring>

#include "core/bytes.h"
#include "core/check.h"
#include "model/element_casts.h"

namespace penstock {

FusedWeight::FusedWeight(const LayerLayout& layout, const std::vector<std::string>& names, DType wire, DType compute)
    : wire_(wire), compute_(compute) {
  for (const std::string& name : names) {
    const TensorPlace& place = layout.tensor(name);
    CHECK_EQ(place.spec.shape.size(), 2u);
    if (!places_.empty()) {
      CHECK_EQ(place.spec.shape[1], cols_);
      adjacent_ = adjacent_ && place.offset == places_.back().offset + places_.back().element_count;
      packs_ = packs_ && places_.back().element_count % (kTensorAlignment / 2) == 0;
    }
    rows_ += place.spec.shape[0];
    cols_ = place.spec.shape[1];
    trained_ += place.spec.trainable ? 1 : 0;
    places_.push_back(place);
  }
  CHECK(adjacent_ || !packs_ || (trained_ > 0 && !all_train()));
}

MatrixView FusedWeight::operand(std::span<const std::byte> weights, void* scratch) const {
  const uint64_t wire_bytes = dtype_bytes(wire_);
  for (const TensorPlace& place : places_) CHECK_LE((place.offset + place.element_count) * wire_bytes, weights.size());
  if (operand_scratch() == 0) {
    // Read only: ATen has no tensors over const memory.
    return {const_cast<std::byte*>(weights.data()) + places_.front().offset * wire_bytes, rows_, cols_};
  }
  auto* packed = static_cast<std::byte*>(scratch);
  for (const TensorPlace& place : places_) {
    const auto count = static_cast<int64_t>(place.element_count);
    cast_elements(wire_, weights.data() + place.offset * wire_bytes, compute_, packed, count);
    packed += place.element_count * dtype_bytes(compute_);
  }
  return {scratch, rows_, cols_};
}

// The trained members' rows between the gradient and a packed [rows, cols] copy of it.
void FusedWeight::copy_rows(std::span<float> gradient, float* packed, bool to_packed) const {
  for (const TensorPlace& place : places_) {
    float* rows = gradient.data() + place.offset;
    if (place.spec.trainable) {
      CHECK_LE(place.offset + place.element_count, gradient.size());
      std::memcpy(to_packed ? packed : rows, to_packed ? rows : packed, place.element_count * sizeof(float));
    } else if (to_packed) {
      std::memset(packed, 0, place.element_count * sizeof(float));
    }
    packed += place.element_count;
  }
}

void FusedWeight::add_gradient(const MatrixView& d_y, const MatrixView& x, std::span<float> gradient, bool accumulate,
                               void* scratch) const {
  if (!trains()) return;
  CHECK_EQ(d_y.cols, rows_);
  CHECK_EQ(x.cols, cols_);
  if (sums_in_place()) {
    CHECK_LE(places_.back().offset + places_.back().element_count, gradient.size());
    linear_weight_gradient(compute_, d_y, x, accumulate, {gradient.data() + places_.front().offset, rows_, cols_});
    return;
  }
  if (sums_in_gemm()) {
    if (accumulate) copy_rows(gradient, static_cast<float*>(scratch), /*to_packed=*/true);
    linear_weight_gradient(compute_, d_y, x, accumulate, {scratch, rows_, cols_});
    copy_rows(gradient, static_cast<float*>(scratch), /*to_packed=*/false);
    return;
  }
  linear_weight_gradient(compute_, d_y, x, /*accumulate=*/false, {scratch, rows_, cols_});
  const auto* packed = static_cast<const std::byte*>(scratch);
  for (const TensorPlace& place : places_) {
    if (place.spec.trainable) {
      CHECK_LE(place.offset + place.element_count, gradient.size());
      accumulate_elements(compute_, packed, gradient.data() + place.offset, accumulate,
                          static_cast<int64_t>(place.element_count));
    }
    packed += place.element_count * dtype_bytes(compute_);
  }
}

}  // namespace penstock
