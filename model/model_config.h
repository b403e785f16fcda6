// The shape of a decoder-only language model, under Hugging Face's names.
// Today: model_type "llama". Every config.json field that changes the maths is honoured or refused by name.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace penstock {

struct ModelConfig {
  std::string model_type = "llama";
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;  // hidden_size / num_attention_heads unless given
  int64_t max_position_embeddings = 2048;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000.0;
  double initializer_range = 0.02;
  int64_t bos_token_id = -1;  // -1: none
  std::vector<int64_t> eos_token_ids;
  int64_t pad_token_id = -1;

  bool operator==(const ModelConfig&) const = default;
};

// Throws Error(kBadInput) that names the field, its value and the remedy: extents > 0, heads divisible by key-value
// heads, even head_dim, sizes that fit 63 bits.
void validate(const ModelConfig& config);

int64_t parameter_count(const ModelConfig& config);

}  // namespace penstock
