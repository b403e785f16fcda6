// The shape of a decoder-only language model, under Hugging Face's names: one set of switches for every family.
// What a family fixes (qwen3's QK-norm, qwen2's biases) is a switch here; nothing below asks for model_type.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace penstock {

enum class RopeType : uint8_t { kDefault, kLinear, kDynamic, kYarn, kLlama3 };

// Scaled rotary positions, as transformers' modeling_rope_utils defines each type. Fields that a type does not use keep
// their defaults.
struct RopeScaling {
  RopeType type = RopeType::kDefault;
  double factor = 1;
  int64_t original_max_position_embeddings = 0;  // llama3, yarn
  double low_freq_factor = 0;                    // llama3
  double high_freq_factor = 0;                   // llama3
  double beta_fast = 32;                         // yarn
  double beta_slow = 1;                          // yarn
  bool truncate = true;                          // yarn
  double attention_factor = 1;                   // yarn: scales cos and sin; the reader has resolved mscale into it

  bool operator==(const RopeScaling&) const = default;
};

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
  RopeScaling rope_scaling;
  double initializer_range = 0.02;
  bool tie_word_embeddings = false;
  bool qkv_bias = false;               // on q_proj, k_proj and v_proj
  bool output_bias = false;            // on o_proj
  bool mlp_bias = false;               // on gate_proj, up_proj and down_proj
  bool qk_norm = false;                // RMSNorm of every query and key head, before the rotation
  std::vector<int64_t> windows;        // per block: a query sees so many keys, its own included; 0: all. Empty: all 0
  std::vector<uint8_t> rotary_blocks;  // per block: 0: no rotary positions. Empty: all 1
  int64_t bos_token_id = -1;           // -1: none
  std::vector<int64_t> eos_token_ids;
  int64_t pad_token_id = -1;

  int64_t query_width() const { return num_attention_heads * head_dim; }
  int64_t key_value_width() const { return num_key_value_heads * head_dim; }
  int64_t window(int64_t block) const { return windows.empty() ? 0 : windows[static_cast<size_t>(block)]; }
  bool rotates(int64_t block) const { return rotary_blocks.empty() || rotary_blocks[static_cast<size_t>(block)] != 0; }

  bool operator==(const ModelConfig&) const = default;
};

// Throws Error(kBadInput) that names the field, its value and the remedy: a supported family, extents > 0, heads
// divisible by key-value heads, even head_dim, per-block lists of the right length, sizes that fit 63 bits.
void validate(const ModelConfig& config);

// A tied head is counted once.
int64_t parameter_count(const ModelConfig& config);

}  // namespace penstock
