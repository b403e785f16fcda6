// Where every tensor of one layer lies in that layer's slab.
//
// The only place offsets are computed. Offsets are counted in *elements* and are the same in every plane of the layer
// (wire weights, remainder, moments, gradient), whatever the plane's element size; each tensor starts on a border of
// kTensorAlignment bytes in the narrowest plane (2 bytes an element). Padding between tensors is zero by construction;
// updates, norms and hashes walk tensors, never slabs.
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
};

struct TensorPlace {
  TensorSpec spec;
  uint64_t offset;         // first element, in elements from the slab's start
  uint64_t element_count;  // product of the shape
};

class LayerLayout {
 public:
  // Throws Error(kBadInput) when a size overflows. Names must be unique and every extent > 0 (CHECKed).
  explicit LayerLayout(std::vector<TensorSpec> tensors);

  const std::vector<TensorPlace>& tensors() const { return tensors_; }
  // CHECKs that the tensor exists.
  const TensorPlace& tensor(std::string_view name) const;

  uint64_t slab_elements() const { return slab_elements_; }      // padding included
  uint64_t parameter_count() const { return parameter_count_; }  // padding excluded
  uint64_t slab_bytes(uint64_t element_bytes) const { return slab_elements_ * element_bytes; }
  // Identifies names, shapes and offsets; equal at fetch, offload, save and load.
  uint64_t hash() const { return hash_; }

 private:
  std::vector<TensorPlace> tensors_;
  uint64_t slab_elements_ = 0;
  uint64_t parameter_count_ = 0;
  uint64_t hash_ = 0;
};

}  // namespace penstock
