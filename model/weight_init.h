// First values of a model trained from scratch, distributed as transformers does: weights normal with deviation
// initializer_range, norms 1, biases 0, the padding token's embedding row 0.
// A value depends on (seed, tensor, element) only, so any split of the work gives the same bits.
#pragma once

#include <cstdint>
#include <span>

#include "core/layer_layout.h"
#include "model/model_config.h"

namespace penstock {

// Fills `out` with elements [first_element, first_element + out.size()) of the tensor. `tensor_index` counts the
// tensors of the whole model in layer order and must differ between tensors.
void init_tensor(const TensorPlace& place, const ModelConfig& config, uint64_t seed, uint64_t tensor_index,
                 uint64_t first_element, std::span<float> out);

}  // namespace penstock
