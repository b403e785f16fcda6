// The tensors of each layer, in slab order, under their Hugging Face names.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/layer_layout.h"
#include "model/model_config.h"

namespace penstock {

// Patterns over tensor names: `*` stands for any characters, `?` for one. A tensor is trained where one of them matches
// its whole name; an empty list trains all.
using TrainablePatterns = std::vector<std::string>;

// Layer 0 is the embedding, 1..L the blocks, L+1 the head (final norm and lm_head). Norms and biases do not decay.
// Block order: input_layernorm, q_proj, k_proj, v_proj, their biases, q_norm, k_norm, o_proj, post_attention_layernorm,
// gate_proj, up_proj, their biases, down_proj. q, k, v lie next to each other without padding where the sizes allow,
// and so do gate and up: then each is one GEMM.
// A tied head owns the embedding: layer 0 has no tensors and the head holds model.embed_tokens.weight, which is its
// lm_head. So the weight streams and is updated once.
std::vector<LayerLayout> layer_layouts(const ModelConfig& config, const TrainablePatterns& trainable = {});

// A head that is too large for the device is streamed in parts: each is a slab of its own with the final norm and a run
// of the head weight's rows. `parts` 1 is the head itself.
struct RowRange {
  int64_t first, last;  // [first, last)
  int64_t count() const { return last - first; }
};
RowRange head_part_rows(int64_t vocab_size, int parts, int part);
LayerLayout head_part_layout(const ModelConfig& config, const TrainablePatterns& trainable, int parts, int part);

// The embedding's rows: in layer 0, or in a tied head.
const TensorPlace& embedding_place(const std::vector<LayerLayout>& layouts);

// The name of the tensor that multiplies the final hidden states.
std::string head_weight_name(const ModelConfig& config);

// Throws Error(kBadInput) for a pattern that matches no tensor, with the names there are.
void require_trainable(const ModelConfig& config, const TrainablePatterns& trainable);

// `*` and `?`; the whole name must match.
bool matches_name_pattern(std::string_view pattern, std::string_view name);

}  // namespace penstock
