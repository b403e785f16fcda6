#include "model/layer_specs.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/error.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace penstock {
namespace {

constexpr const char* kEmbeddingName = "model.embed_tokens.weight";

// Collects one layer's tensors, each frozen or trained by its name.
class LayerWriter {
 public:
  explicit LayerWriter(const TrainablePatterns& trainable) : trainable_(trainable) {}

  void add(std::string name, std::vector<int64_t> shape) {
    const bool is_matrix = shape.size() > 1;
    const bool trains = is_trained(name);
    tensors_.push_back({.name = std::move(name), .shape = std::move(shape), .decays = is_matrix, .trainable = trains});
  }
  LayerLayout take() { return LayerLayout(std::move(tensors_)); }

 private:
  bool is_trained(const std::string& name) const {
    return trainable_.empty() || std::any_of(trainable_.begin(), trainable_.end(), [&](const std::string& pattern) {
             return matches_name_pattern(pattern, name);
           });
  }

  const TrainablePatterns& trainable_;
  std::vector<TensorSpec> tensors_;
};

LayerLayout embedding_layout(const ModelConfig& config, LayerWriter layer) {
  if (!config.tie_word_embeddings) layer.add(kEmbeddingName, {config.vocab_size, config.hidden_size});
  return layer.take();
}

LayerLayout block_layout(const ModelConfig& config, int64_t block, LayerWriter layer) {
  const int64_t width = config.hidden_size, inner = config.intermediate_size;
  const auto add = [&](const char* name, std::vector<int64_t> shape) {
    layer.add(fmt::format("model.layers.{}.{}", block, name), std::move(shape));
  };
  add("input_layernorm.weight", {width});
  add("self_attn.q_proj.weight", {config.query_width(), width});
  add("self_attn.k_proj.weight", {config.key_value_width(), width});
  add("self_attn.v_proj.weight", {config.key_value_width(), width});
  if (config.qkv_bias) {
    add("self_attn.q_proj.bias", {config.query_width()});
    add("self_attn.k_proj.bias", {config.key_value_width()});
    add("self_attn.v_proj.bias", {config.key_value_width()});
  }
  if (config.qk_norm) {
    add("self_attn.q_norm.weight", {config.head_dim});
    add("self_attn.k_norm.weight", {config.head_dim});
  }
  add("self_attn.o_proj.weight", {width, config.query_width()});
  if (config.output_bias) add("self_attn.o_proj.bias", {width});
  add("post_attention_layernorm.weight", {width});
  add("mlp.gate_proj.weight", {inner, width});
  add("mlp.up_proj.weight", {inner, width});
  if (config.mlp_bias) {
    add("mlp.gate_proj.bias", {inner});
    add("mlp.up_proj.bias", {inner});
  }
  add("mlp.down_proj.weight", {width, inner});
  if (config.mlp_bias) add("mlp.down_proj.bias", {width});
  return layer.take();
}

LayerLayout head_layout(const ModelConfig& config, int64_t rows, LayerWriter layer) {
  layer.add("model.norm.weight", {config.hidden_size});
  layer.add(head_weight_name(config), {rows, config.hidden_size});
  return layer.take();
}

// Names of the model with block numbers replaced by `*`, each once: what a user may choose from.
std::vector<std::string> name_kinds(const ModelConfig& config) {
  ModelConfig one_block = config;
  one_block.num_hidden_layers = 1;
  one_block.windows.clear();
  one_block.rotary_blocks.clear();
  std::vector<std::string> kinds;
  for (const LayerLayout& layout : layer_layouts(one_block)) {
    for (const TensorPlace& place : layout.tensors()) {
      std::string name = place.spec.name;
      if (const size_t at = name.find("layers.0."); at != std::string::npos) name.replace(at, 9, "layers.*.");
      kinds.push_back(std::move(name));
    }
  }
  return kinds;
}

}  // namespace

std::vector<LayerLayout> layer_layouts(const ModelConfig& config, const TrainablePatterns& trainable) {
  CHECK_GT(config.num_hidden_layers, 0);
  const LayerWriter empty(trainable);
  std::vector<LayerLayout> layouts;
  layouts.reserve(static_cast<size_t>(config.num_hidden_layers) + 2);
  layouts.push_back(embedding_layout(config, empty));
  for (int64_t block = 0; block < config.num_hidden_layers; ++block) {
    layouts.push_back(block_layout(config, block, empty));
  }
  layouts.push_back(head_layout(config, config.vocab_size, empty));
  return layouts;
}

RowRange head_part_rows(int64_t vocab_size, int parts, int part) {
  CHECK_GE(part, 0);
  CHECK_LT(part, parts);
  CHECK_LE(parts, vocab_size);
  return {vocab_size * part / parts, vocab_size * (part + 1) / parts};
}

LayerLayout head_part_layout(const ModelConfig& config, const TrainablePatterns& trainable, int parts, int part) {
  return head_layout(config, head_part_rows(config.vocab_size, parts, part).count(), LayerWriter(trainable));
}

const TensorPlace& embedding_place(const std::vector<LayerLayout>& layouts) {
  const bool is_tied = layouts.front().tensors().empty();
  return (is_tied ? layouts.back() : layouts.front()).tensor(kEmbeddingName);
}

std::string head_weight_name(const ModelConfig& config) {
  return config.tie_word_embeddings ? kEmbeddingName : "lm_head.weight";
}

void require_trainable(const ModelConfig& config, const TrainablePatterns& trainable) {
  for (const std::string& pattern : trainable) {
    bool matches = false;
    for (const LayerLayout& layout : layer_layouts(config, {pattern})) matches |= layout.trains();
    if (matches) continue;
    throw Error(ExitCode::kBadInput, fmt::format("training.trainable: \"{}\" matches no tensor of the model; its "
                                                 "tensors are {}",
                                                 pattern, fmt::join(name_kinds(config), ", ")));
  }
}

bool matches_name_pattern(std::string_view pattern, std::string_view name) {
  size_t at = 0, star = std::string_view::npos, resume = 0, i = 0;
  while (at < name.size()) {
    if (i < pattern.size() && (pattern[i] == '?' || (pattern[i] == name[at] && pattern[i] != '*'))) {
      ++i;
      ++at;
    } else if (i < pattern.size() && pattern[i] == '*') {
      star = i++;
      resume = at;
    } else if (star != std::string_view::npos) {  // the last star takes one more character
      i = star + 1;
      at = ++resume;
    } else {
      return false;
    }
  }
  while (i < pattern.size() && pattern[i] == '*') ++i;
  return i == pattern.size();
}

}  // namespace penstock
