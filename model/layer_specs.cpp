#include "model/layer_specs.h"

#include <string>
#include <utility>

#include "core/check.h"

namespace penstock {
namespace {

LayerLayout embedding_layout(const ModelConfig& config) {
  return LayerLayout({{.name = "model.embed_tokens.weight", .shape = {config.vocab_size, config.hidden_size}}});
}

LayerLayout block_layout(const ModelConfig& config, int64_t block) {
  const std::string prefix = "model.layers." + std::to_string(block) + ".";
  const int64_t width = config.hidden_size;
  const int64_t query_width = config.num_attention_heads * config.head_dim;
  const int64_t key_value_width = config.num_key_value_heads * config.head_dim;
  const int64_t inner_width = config.intermediate_size;

  std::vector<TensorSpec> tensors;
  const auto add = [&](const char* name, std::vector<int64_t> shape) {
    const bool is_norm = shape.size() == 1;
    tensors.push_back({.name = prefix + name + ".weight", .shape = std::move(shape), .decays = !is_norm});
  };
  add("input_layernorm", {width});
  add("self_attn.q_proj", {query_width, width});
  add("self_attn.k_proj", {key_value_width, width});
  add("self_attn.v_proj", {key_value_width, width});
  add("self_attn.o_proj", {width, query_width});
  add("post_attention_layernorm", {width});
  add("mlp.gate_proj", {inner_width, width});
  add("mlp.up_proj", {inner_width, width});
  add("mlp.down_proj", {width, inner_width});
  return LayerLayout(std::move(tensors));
}

LayerLayout head_layout(const ModelConfig& config) {
  return LayerLayout({{.name = "model.norm.weight", .shape = {config.hidden_size}, .decays = false},
                      {.name = "lm_head.weight", .shape = {config.vocab_size, config.hidden_size}}});
}

}  // namespace

std::vector<LayerLayout> layer_layouts(const ModelConfig& config) {
  CHECK_GT(config.num_hidden_layers, 0);
  std::vector<LayerLayout> layouts;
  layouts.reserve(static_cast<size_t>(config.num_hidden_layers) + 2);
  layouts.push_back(embedding_layout(config));
  for (int64_t block = 0; block < config.num_hidden_layers; ++block) layouts.push_back(block_layout(config, block));
  layouts.push_back(head_layout(config));
  return layouts;
}

}  // namespace penstock
