#include "core/layer_layout.h"

#include <fmt/format.h>

#include <unordered_set>

#include "core/check.h"
#include "core/error.h"

namespace penstock {
namespace {

// Tensors start on kTensorAlignment bytes in the narrowest plane, which has 2 bytes an element.
constexpr uint64_t kAlignmentElements = kTensorAlignment / 2;

// All planes of a layer take at most 16 bytes an element (float32: weight, gradient, m, v), so no sum over the planes
// of a slab this large overflows.
constexpr uint64_t kMaxSlabElements = static_cast<uint64_t>(INT64_MAX) / 16;

uint64_t count_elements(const TensorSpec& spec) {
  uint64_t count = 1;
  for (const int64_t extent : spec.shape) {
    CHECK_GT(extent, 0);
    count = checked_multiply(count, static_cast<uint64_t>(extent), spec.name.c_str());
  }
  return count;
}

// FNV-1a with 64 bits. Every field has a fixed width or is preceded by its length, so that no two layouts read alike.
class LayoutHash {
 public:
  void add(uint64_t value) {
    for (int shift = 0; shift < 64; shift += 8) add_byte(static_cast<uint8_t>(value >> shift));
  }
  void add(std::string_view text) {
    add(text.size());
    for (const char letter : text) add_byte(static_cast<uint8_t>(letter));
  }
  uint64_t value() const { return value_; }

 private:
  void add_byte(uint8_t byte) { value_ = (value_ ^ byte) * 0x100000001b3u; }

  uint64_t value_ = 0xcbf29ce484222325u;
};

// `frozen_elements` counts only where there are any: a model trained as a whole keeps the hash of its checkpoints.
uint64_t hash_places(const std::vector<TensorPlace>& places, uint64_t frozen_elements) {
  LayoutHash hash;
  hash.add(places.size());
  for (const TensorPlace& place : places) {
    hash.add(place.spec.name);
    hash.add(place.spec.shape.size());
    for (const int64_t extent : place.spec.shape) hash.add(static_cast<uint64_t>(extent));
    hash.add(place.offset);
  }
  if (frozen_elements > 0) hash.add(frozen_elements);
  return hash.value();
}

}  // namespace

LayerLayout::LayerLayout(std::vector<TensorSpec> tensors) {
  std::unordered_set<std::string> names;
  tensors_.reserve(tensors.size());
  for (TensorSpec& spec : tensors) {
    CHECK(names.insert(spec.name).second);
    const uint64_t element_count = count_elements(spec);
    parameter_count_ += element_count;
    tensors_.push_back({std::move(spec), 0, element_count});
  }
  place_tensors(/*trainable=*/true);
  trainable_elements_ = slab_elements_;
  place_tensors(/*trainable=*/false);
  hash_ = hash_places(tensors_, slab_elements_ - trainable_elements_);
}

void LayerLayout::place_tensors(bool trainable) {
  for (TensorPlace& place : tensors_) {
    if (place.spec.trainable != trainable) continue;
    if (place.element_count > kMaxSlabElements - slab_elements_) {
      throw Error(ExitCode::kBadInput,
                  fmt::format("{}: {} elements after {} others do not fit a slab of at most {}; "
                              "use a smaller shape",
                              place.spec.name, place.element_count, slab_elements_, kMaxSlabElements));
    }
    place.offset = slab_elements_;
    slab_elements_ = align_up(place.offset + place.element_count, kAlignmentElements);
  }
}

const TensorPlace& LayerLayout::tensor(std::string_view name) const {
  for (const TensorPlace& place : tensors_) {
    if (place.spec.name == name) return place;
  }
  detail::check_failed(__FILE__, __LINE__, "the layer has this tensor", std::string(name));
}

}  // namespace penstock
