#include <algorithm>

#include "core/error.h"
#include "fmt/format.h"
#include "model/config_family.h"
#include "model/config_json.h"
#include "model/rope_scaling_json.h"
#include "nlohmann/json.hpp"

namespace penstock {
namespace {

using nlohmann::json;

// Special tokens as transformers writes them: null for none, a list only where there are several.
json token_ids_json(const std::vector<int64_t>& ids) {
  if (ids.empty()) return nullptr;
  if (ids.size() == 1) return ids.front();
  return ids;
}

json token_id_json(int64_t id) { return id < 0 ? json(nullptr) : json(id); }

int64_t widest_window(const ModelConfig& config) {
  return config.windows.empty() ? 0 : *std::max_element(config.windows.begin(), config.windows.end());
}

// A family says some switches in one way only.
void require_sayable(const ModelConfig& config, const ConfigFamily& family) {
  const auto require = [&](bool sayable, const char* what) {
    if (sayable) return;
    throw Error(ExitCode::kBadInput, fmt::format("model: {} is not what config.json of type {} can say; use a type "
                                                 "that has it",
                                                 what, family.model_type));
  };
  const bool inputs = family.attention_bias == AttentionBias::kAlwaysOnInputs;
  const bool by_field = family.attention_bias == AttentionBias::kByField;
  require(by_field ? config.qkv_bias == config.output_bias : config.qkv_bias == inputs && !config.output_bias,
          "the bias of q, k, v and o");
  require(family.reads_mlp_bias || !config.mlp_bias, "mlp_bias");
  require(family.qk_norm == config.qk_norm, "the norm of queries and keys");
  require(family.reads_unrotated_blocks || config.rotary_blocks.empty(), "a block without rotary positions");
  const int64_t widest = widest_window(config);
  const bool may_be_full = family.window_rule != WindowRule::kEveryBlock;
  const bool one_window = std::all_of(config.windows.begin(), config.windows.end(),
                                      [&](int64_t window) { return window == widest || (window == 0 && may_be_full); });
  require(one_window && (family.window_rule != WindowRule::kNone || widest == 0), "the list of windows");
}

void write_positions(const ModelConfig& config, json& root) {
  // Version 4 reads rope_theta and rope_scaling, version 5 rope_parameters, or rope_scaling in its place.
  json parameters = rope_scaling_json(config.rope_scaling);
  if (config.rope_scaling.type != RopeType::kDefault) root["rope_scaling"] = parameters;
  parameters["rope_theta"] = config.rope_theta;
  root["rope_parameters"] = parameters;
  root["rope_theta"] = config.rope_theta;
}

void write_windows(const ModelConfig& config, const ConfigFamily& family, json& root) {
  if (family.window_rule == WindowRule::kNone) return;
  const int64_t widest = widest_window(config);
  root["sliding_window"] = widest == 0 ? json(nullptr) : json(widest);
  if (family.window_rule == WindowRule::kEveryBlock) return;
  root["use_sliding_window"] = widest != 0;
  json types = json::array();
  for (int64_t block = 0; block < config.num_hidden_layers; ++block) {
    types.push_back(config.window(block) == 0 ? "full_attention" : "sliding_attention");
  }
  root["layer_types"] = types;
  if (family.window_rule != WindowRule::kUpperBlocks) return;
  // For readers older than layer_types.
  const auto first = std::find_if(config.windows.begin(), config.windows.end(), [](int64_t window) { return window; });
  root["max_window_layers"] = widest == 0 ? config.num_hidden_layers : first - config.windows.begin();
}

void write_switches(const ModelConfig& config, const ConfigFamily& family, json& root) {
  if (family.attention_bias == AttentionBias::kByField) root["attention_bias"] = config.qkv_bias;
  if (family.reads_mlp_bias) root["mlp_bias"] = config.mlp_bias;
  root["tie_word_embeddings"] = config.tie_word_embeddings;
  if (!family.reads_unrotated_blocks) return;
  root["no_rope_layers"] = std::vector<int>(static_cast<size_t>(config.num_hidden_layers), 1);
  for (int64_t block = 0; block < config.num_hidden_layers; ++block) {
    if (!config.rotates(block)) root["no_rope_layers"][static_cast<size_t>(block)] = 0;
  }
}

}  // namespace

std::string config_json_text(const ModelConfig& config, DType dtype) {
  validate(config);
  const ConfigFamily& family = *find_config_family(config.model_type);
  require_sayable(config, family);
  json root = {
      {"architectures", {family.architecture}},
      {"attention_dropout", 0.0},
      {"bos_token_id", token_id_json(config.bos_token_id)},
      {"dtype", dtype_name(dtype)},  // version 5; torch_dtype is version 4
      {"eos_token_id", token_ids_json(config.eos_token_ids)},
      {"head_dim", config.head_dim},
      {"hidden_act", "silu"},
      {"hidden_size", config.hidden_size},
      {"initializer_range", config.initializer_range},
      {"intermediate_size", config.intermediate_size},
      {"max_position_embeddings", config.max_position_embeddings},
      {"model_type", config.model_type},
      {"num_attention_heads", config.num_attention_heads},
      {"num_hidden_layers", config.num_hidden_layers},
      {"num_key_value_heads", config.num_key_value_heads},
      {"pad_token_id", token_id_json(config.pad_token_id)},
      {"rms_norm_eps", config.rms_norm_eps},
      {"torch_dtype", dtype_name(dtype)},
      {"use_cache", true},
      {"vocab_size", config.vocab_size},
  };
  write_positions(config, root);
  write_windows(config, family, root);
  write_switches(config, family, root);
  return root.dump(2) + '\n';
}

std::string generation_config_json_text(const ModelConfig& config) {
  json root = {{"_from_model_config", true}};
  if (config.bos_token_id >= 0) root["bos_token_id"] = config.bos_token_id;
  if (!config.eos_token_ids.empty()) root["eos_token_id"] = token_ids_json(config.eos_token_ids);
  if (config.pad_token_id >= 0) root["pad_token_id"] = config.pad_token_id;
  return root.dump(2) + '\n';
}

}  // namespace penstock
