// The tensors of each layer, in slab order, under their Hugging Face names.
#pragma once

#include <vector>

#include "core/layer_layout.h"
#include "model/model_config.h"

namespace penstock {

// Layer 0 is the embedding, 1..L the blocks, L+1 the head (final norm and lm_head). Norms do not decay.
// Block order: input_layernorm, q_proj, k_proj, v_proj, o_proj, post_attention_layernorm, gate_proj, up_proj,
// down_proj. q, k, v lie next to each other without padding where the sizes allow, and so do gate and up: then each is
// one GEMM.
std::vector<LayerLayout> layer_layouts(const ModelConfig& config);

}  // namespace penstock
