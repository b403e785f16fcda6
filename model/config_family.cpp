#include "model/config_family.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <numeric>
#include <vector>

namespace penstock {
namespace {

constexpr ConfigFamily kFamilies[] = {
    {.model_type = "llama",
     .architecture = "LlamaForCausalLM",
     .vocab_size = 32'000,
     .hidden_size = 4096,
     .intermediate_size = 11'008,
     .num_hidden_layers = 32,
     .num_attention_heads = 32,
     .num_key_value_heads = 0,
     .null_key_value_heads = true,
     .head_dim = 0,
     .null_head_dim = true,
     .max_position_embeddings = 2048,
     .rope_theta = 1e4,
     .sliding_window = 0,
     .tie_word_embeddings = false,
     .bos_token_id = 1,
     .eos_token_id = 2,
     .pad_token_id = -1,
     .attention_bias = AttentionBias::kByField,
     .reads_mlp_bias = true,
     .qk_norm = false,
     .reads_unrotated_blocks = false,
     .window_rule = WindowRule::kNone},
    {.model_type = "mistral",
     .architecture = "MistralForCausalLM",
     .vocab_size = 32'000,
     .hidden_size = 4096,
     .intermediate_size = 14'336,
     .num_hidden_layers = 32,
     .num_attention_heads = 32,
     .num_key_value_heads = 8,
     .null_key_value_heads = false,
     .head_dim = 0,
     .null_head_dim = true,
     .max_position_embeddings = 131'072,
     .rope_theta = 1e4,
     .sliding_window = 4096,
     .tie_word_embeddings = false,
     .bos_token_id = 1,
     .eos_token_id = 2,
     .pad_token_id = -1,
     .attention_bias = AttentionBias::kNone,
     .reads_mlp_bias = false,
     .qk_norm = false,
     .reads_unrotated_blocks = false,
     .window_rule = WindowRule::kEveryBlock},
    {.model_type = "qwen2",
     .architecture = "Qwen2ForCausalLM",
     .vocab_size = 151'936,
     .hidden_size = 4096,
     .intermediate_size = 22'016,
     .num_hidden_layers = 32,
     .num_attention_heads = 32,
     .num_key_value_heads = 32,
     .null_key_value_heads = true,
     .head_dim = 0,
     .null_head_dim = false,
     .max_position_embeddings = 32'768,
     .rope_theta = 1e4,
     .sliding_window = 4096,
     .tie_word_embeddings = false,
     .bos_token_id = -1,
     .eos_token_id = -1,
     .pad_token_id = -1,
     .attention_bias = AttentionBias::kAlwaysOnInputs,
     .reads_mlp_bias = false,
     .qk_norm = false,
     .reads_unrotated_blocks = false,
     .window_rule = WindowRule::kUpperBlocks},
    {.model_type = "qwen3",
     .architecture = "Qwen3ForCausalLM",
     .vocab_size = 151'936,
     .hidden_size = 4096,
     .intermediate_size = 22'016,
     .num_hidden_layers = 32,
     .num_attention_heads = 32,
     .num_key_value_heads = 32,
     .null_key_value_heads = true,
     .head_dim = 128,
     .null_head_dim = false,
     .max_position_embeddings = 32'768,
     .rope_theta = 1e4,
     .sliding_window = 4096,
     .tie_word_embeddings = false,
     .bos_token_id = -1,
     .eos_token_id = -1,
     .pad_token_id = -1,
     .attention_bias = AttentionBias::kByField,
     .reads_mlp_bias = false,
     .qk_norm = true,
     .reads_unrotated_blocks = false,
     .window_rule = WindowRule::kUpperBlocks},
    {.model_type = "smollm3",
     .architecture = "SmolLM3ForCausalLM",
     .vocab_size = 128'256,
     .hidden_size = 2048,
     .intermediate_size = 11'008,
     .num_hidden_layers = 36,
     .num_attention_heads = 16,
     .num_key_value_heads = 4,
     .null_key_value_heads = true,
     .head_dim = 0,
     .null_head_dim = false,
     .max_position_embeddings = 32'768,
     .rope_theta = 2e6,
     .sliding_window = 0,
     .tie_word_embeddings = true,
     .bos_token_id = 128'000,
     .eos_token_id = 128'001,
     .pad_token_id = 128'004,
     .attention_bias = AttentionBias::kByField,
     .reads_mlp_bias = true,
     .qk_norm = false,
     .reads_unrotated_blocks = true,
     .window_rule = WindowRule::kUnrotated},
};

constexpr auto kModelTypes = [] {
  std::array<const char*, std::size(kFamilies)> names = {};
  for (size_t i = 0; i < names.size(); ++i) names[i] = kFamilies[i].model_type;
  return names;
}();

// Families that grew out of a supported one under another name.
struct Relative {
  const char* prefix;  // of the unknown model_type
  const char* nearest;
};

constexpr Relative kRelatives[] = {
    {"smollm", "smollm3"},   {"mixtral", "mistral"}, {"ministral", "mistral"}, {"pixtral", "mistral"},
    {"devstral", "mistral"}, {"phi", "mistral"},     {"qwen3", "qwen3"},       {"qwen", "qwen2"},
    {"gemma", "llama"},      {"olmo", "llama"},      {"granite", "llama"},     {"cohere", "llama"},
    {"deepseek", "llama"},   {"internlm", "llama"},  {"mllama", "llama"},      {"glm", "llama"},
};

size_t edit_distance(std::string_view left, std::string_view right) {
  std::vector<size_t> row(right.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= left.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= right.size(); ++j) {
      const size_t replaced = diagonal + (left[i - 1] == right[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row.back();
}

// Longer names are no typing errors, and the distance costs their length.
constexpr size_t kMaxTypedLetters = 64;

}  // namespace

const ConfigFamily* find_config_family(std::string_view model_type) {
  for (const ConfigFamily& family : kFamilies) {
    if (model_type == family.model_type) return &family;
  }
  return nullptr;
}

std::string nearest_model_type(std::string_view model_type) {
  for (const Relative& relative : kRelatives) {
    if (model_type.starts_with(relative.prefix)) return relative.nearest;
  }
  const std::string_view typed = model_type.substr(0, kMaxTypedLetters);
  const auto closer = [&](const ConfigFamily& left, const ConfigFamily& right) {
    return edit_distance(typed, left.model_type) < edit_distance(typed, right.model_type);
  };
  return std::min_element(std::begin(kFamilies), std::end(kFamilies), closer)->model_type;
}

std::span<const char* const> supported_model_types() { return kModelTypes; }

}  // namespace penstock
