// Small configurations of every family, as JSON and as ModelConfig.
#pragma once

#include <string>

#include "model/config_json.h"
#include "model/model_config.h"
#include "nlohmann/json.hpp"

namespace penstock {

inline constexpr const char* kFamilyNames[] = {"llama", "mistral", "qwen2", "qwen3", "smollm3"};

// Odd sizes: no two extents are equal, so that a swapped pair cannot hide.
inline ModelConfig small_config() {
  ModelConfig config;
  config.vocab_size = 263;
  config.hidden_size = 24;
  config.intermediate_size = 40;
  config.num_hidden_layers = 3;
  config.num_attention_heads = 6;
  config.num_key_value_heads = 2;
  config.head_dim = 10;
  config.max_position_embeddings = 77;
  config.rms_norm_eps = 1e-5;
  config.rope_theta = 12345.5;
  config.initializer_range = 0.03;
  config.bos_token_id = 256;
  config.eos_token_ids = {257};
  config.pad_token_id = 258;
  return config;
}

// What every family needs, and nothing it could do without.
inline nlohmann::json shape_json(const std::string& model_type) {
  return {{"model_type", model_type}, {"vocab_size", 263},        {"hidden_size", 24},  {"intermediate_size", 40},
          {"num_hidden_layers", 4},   {"num_attention_heads", 6}, {"head_dim", 10},     {"num_key_value_heads", 2},
          {"bos_token_id", 256},      {"eos_token_id", 257},      {"pad_token_id", 258}};
}

inline ModelConfig parse_json(const nlohmann::json& value) { return parse_config_json(value.dump(), "config.json"); }

}  // namespace penstock
