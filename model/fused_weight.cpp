#include "model/fused_weight.h"

#include "core/bytes.h"
#include "core/check.h"

namespace penstock {

FusedWeight::FusedWeight(const LayerLayout& layout, const std::vector<std::string>& names, DType wire, DType compute,
                         DType gradient)
    : wire_(wire), compute_(compute), gradient_(gradient) {
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

MatrixView FusedWeight::operand(Maths& maths, std::span<const std::byte> weights, void* scratch) const {
  const uint64_t wire_bytes = dtype_bytes(wire_);
  for (const TensorPlace& place : places_) CHECK_LE((place.offset + place.element_count) * wire_bytes, weights.size());
  if (operand_scratch() == 0) {
    // Read only: ATen has no tensors over const memory.
    return {const_cast<std::byte*>(weights.data()) + places_.front().offset * wire_bytes, rows_, cols_};
  }
  auto* packed = static_cast<std::byte*>(scratch);
  for (const TensorPlace& place : places_) {
    const auto count = static_cast<int64_t>(place.element_count);
    maths.cast(wire_, weights.data() + place.offset * wire_bytes, compute_, packed, count);
    packed += place.element_count * dtype_bytes(compute_);
  }
  return {scratch, rows_, cols_};
}

// The trained members' rows between the gradient and a packed [rows, cols] copy of it.
void FusedWeight::copy_rows(Maths& maths, std::span<float> gradient, float* packed, bool to_packed) const {
  for (const TensorPlace& place : places_) {
    float* rows = gradient.data() + place.offset;
    if (place.spec.trainable) {
      CHECK_LE(place.offset + place.element_count, gradient.size());
      maths.copy(to_packed ? packed : rows, to_packed ? rows : packed, place.element_count * sizeof(float));
    } else if (to_packed) {
      maths.clear(packed, place.element_count * sizeof(float));
    }
    packed += place.element_count;
  }
}

void FusedWeight::add_gradient(Maths& maths, const MatrixView& d_y, const MatrixView& x, std::span<float> gradient,
                               bool accumulate, void* scratch) const {
  if (!trains()) return;
  CHECK_EQ(d_y.cols, rows_);
  CHECK_EQ(x.cols, cols_);
  if (sums_in_place()) {
    CHECK_LE(places_.back().offset + places_.back().element_count, gradient.size());
    maths.linear_weight_gradient(compute_, d_y, x, accumulate,
                                 {gradient.data() + places_.front().offset, rows_, cols_});
    return;
  }
  if (sums_in_gemm()) {
    if (accumulate) copy_rows(maths, gradient, static_cast<float*>(scratch), /*to_packed=*/true);
    maths.linear_weight_gradient(compute_, d_y, x, accumulate, {scratch, rows_, cols_});
    copy_rows(maths, gradient, static_cast<float*>(scratch), /*to_packed=*/false);
    return;
  }
  maths.linear_weight_gradient(compute_, d_y, x, /*accumulate=*/false, {scratch, rows_, cols_});
  const auto* packed = static_cast<const std::byte*>(scratch);
  for (const TensorPlace& place : places_) {
    if (place.spec.trainable) {
      CHECK_LE(place.offset + place.element_count, gradient.size());
      maths.accumulate(gradient_, packed, gradient.data() + place.offset, accumulate,
                       static_cast<int64_t>(place.element_count));
    }
    packed += place.element_count * dtype_bytes(gradient_);
  }
}

}  // namespace penstock
