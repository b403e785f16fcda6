// Where every tensor of one layer lies in that layer's slab.
//
// The only place offsets are computed. Offsets are counted in *elements* and are the same in every plane of the layer
// (wire weights, remainder, moments, gradient), whatever the plane's element size; each tensor starts on a border of
// kTensorAlignment bytes in the narrowest plane (2 bytes an element). Padding between tensors is zero by construction;
// updates, norms and hashes walk tensors, never slabs.
// Trainable tensors come first, in their order, then the frozen ones: planes that only training needs (remainder,
// moments, gradients) end where the trainable part ends.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/bytes.h"

namespace penstock {

struct TensorSpec {
  std::string name;            // the Hugging Face name, e.g. "model.layers.3.self_attn.q_proj.weight"
  std::vector<int64_t> shape;  // row major
  bool decays = true;          // takes part in weight decay (false for norms and biases)
  bool trainable = true;       // false: streamed only; it has no state and no gradient
};

struct TensorPlace {
  TensorSpec spec;
  uint64_t offset;         // first element, in elements from the slab's start
  uint64_t element_count;  // product of the shape
};

class LayerLayout {
 public:
  // Throws Error(kBadInput) when a size overflows. Names must be unique and every extent > 0 (CHECKed). A layout
  // without tensors is legal: the embedding of a model whose head owns it.
  explicit LayerLayout(std::vector<TensorSpec> tensors);

  // In the order they were given; offsets follow the trainable-first order.
  const std::vector<TensorPlace>& tensors() const { return tensors_; }
  // CHECKs that the tensor exists.
  const TensorPlace& tensor(std::string_view name) const;

  uint64_t slab_elements() const { return slab_elements_; }      // padding included
  uint64_t parameter_count() const { return parameter_count_; }  // padding excluded
  uint64_t slab_bytes(uint64_t element_bytes) const { return slab_elements_ * element_bytes; }
  // The part of the slab that holds trainable tensors, padding included: the length of state and gradient planes.
  uint64_t trainable_elements() const { return trainable_elements_; }
  uint64_t trainable_bytes(uint64_t element_bytes) const { return trainable_elements_ * element_bytes; }
  bool trains() const { return trainable_elements_ > 0; }
  // Identifies names, shapes and offsets; equal at fetch, offload, save and load.
  uint64_t hash() const { return hash_; }

 private:
  void place_tensors(bool trainable);

  std::vector<TensorPlace> tensors_;
  uint64_t slab_elements_ = 0;
  uint64_t trainable_elements_ = 0;
  uint64_t parameter_count_ = 0;
  uint64_t hash_ = 0;
};

}  // namespace penstock
