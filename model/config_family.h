// What each supported model_type fixes and what it leaves to config.json: one row a family, with the defaults that
// transformers 5.23 gives to absent fields.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace penstock {

// Which blocks have a sliding window.
enum class WindowRule : uint8_t {
  kNone,         // the family has no windows
  kEveryBlock,   // sliding_window, where it is not null
  kUpperBlocks,  // use_sliding_window: layer_types, or the blocks from max_window_layers on
  kUnrotated,    // use_sliding_window: layer_types, or the blocks without rotary positions
};

// What attention_bias does.
enum class AttentionBias : uint8_t {
  kNone,            // q, k, v and o have no bias, whatever the field says
  kAlwaysOnInputs,  // q, k and v have one, whatever the field says
  kByField,         // q, k, v and o have one where the field is true
};

struct ConfigFamily {
  const char* model_type;
  const char* architecture;  // the class that transformers opens the folder with
  int64_t vocab_size;
  int64_t hidden_size;
  int64_t intermediate_size;
  int64_t num_hidden_layers;
  int64_t num_attention_heads;
  int64_t num_key_value_heads;  // 0: one for each query head
  bool null_key_value_heads;    // null stands for one for each query head; false: null is refused
  int64_t head_dim;             // 0: hidden_size / num_attention_heads
  bool null_head_dim;           // null stands for hidden_size / num_attention_heads; false: null is refused
  int64_t max_position_embeddings;
  double rope_theta;
  int64_t sliding_window;  // 0: none
  bool tie_word_embeddings;
  int64_t bos_token_id;  // -1: none
  int64_t eos_token_id;
  int64_t pad_token_id;
  AttentionBias attention_bias;
  bool reads_mlp_bias;
  bool qk_norm;
  bool reads_unrotated_blocks;  // no_rope_layers, no_rope_layer_interval
  WindowRule window_rule;
};

// nullptr for a model_type that is not supported.
const ConfigFamily* find_config_family(std::string_view model_type);

// The supported model_type that is closest to an unknown one, by kinship where it is known, else by spelling.
std::string nearest_model_type(std::string_view model_type);

// "llama", "mistral" and so on: every family there is, in the order of their names.
std::span<const char* const> supported_model_types();

}  // namespace penstock
