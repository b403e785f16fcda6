// The angles a head turns by per position: theta^(-2i/D), scaled as the model's rope_scaling says.
// The very ops of transformers' modeling_rope_utils, in its order, so that the bits agree.
#pragma once

#include <vector>

#include "model/model_config.h"

namespace penstock {

struct RopeFrequencies {
  std::vector<float> inverse;  // [head_dim / 2]
  float scale = 1;             // on cosines and sines (yarn)
};

// `dynamic` as it is for rows up to max_position_embeddings, where it does not depend on the row.
RopeFrequencies rope_frequencies(const ModelConfig& config);

}  // namespace penstock
