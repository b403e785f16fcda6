// Shapes and batches for the decoder's tests.
#pragma once

#include <algorithm>
#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "core/random.h"
#include "model/batch_view.h"
#include "model/model_config.h"

namespace penstock {

struct DecoderCase {
  std::string name;
  int64_t hidden, inner, vocab, heads, kv_heads, head_dim, rows, length;
  std::vector<int32_t> cuts;  // inner segment borders beside the rows' own
  void (*set_switches)(ModelConfig& config) = nullptr;
};

// Odd on purpose: three query heads a key head, extents that no vector or tile divides, packed rows, one token.
inline const std::vector<DecoderCase>& odd_cases() {
  static const std::vector<DecoderCase> cases = {
      {"grouped", 30, 44, 37, 6, 2, 10, 2, 13, {}},
      {"packed", 36, 52, 61, 3, 1, 6, 3, 21, {4, 5, 17, 30, 50}},
      {"adjacent", 128, 256, 130, 8, 4, 16, 2, 40, {11, 40, 44}},
      {"one_token", 20, 28, 11, 2, 2, 6, 1, 1, {}},
      {"long_row", 24, 40, 19, 2, 1, 16, 1, 300, {}},
  };
  return cases;
}

// Each switch by itself, then with others: a name for each, and what it sets.
struct SwitchCase {
  const char* name;
  void (*set)(ModelConfig& config);
};
inline const std::vector<SwitchCase>& switch_cases() {
  static const std::vector<SwitchCase> cases = {
      {"qkv_bias", [](ModelConfig& c) { c.qkv_bias = true; }},
      {"output_bias", [](ModelConfig& c) { c.output_bias = true; }},
      {"mlp_bias", [](ModelConfig& c) { c.mlp_bias = true; }},
      {"all_biases", [](ModelConfig& c) { c.qkv_bias = c.output_bias = c.mlp_bias = true; }},
      {"qk_norm", [](ModelConfig& c) { c.qk_norm = true; }},
      {"no_rope", [](ModelConfig& c) { c.rotary_blocks = {0}; }},
      {"window", [](ModelConfig& c) { c.windows = {7}; }},
      {"window_of_two", [](ModelConfig& c) { c.windows = {2}; }},
      {"linear", [](ModelConfig& c) { c.rope_scaling = {.type = RopeType::kLinear, .factor = 3.5}; }},
      {"dynamic", [](ModelConfig& c) { c.rope_scaling = {.type = RopeType::kDynamic, .factor = 4.3}; }},
      {"llama3",
       [](ModelConfig& c) {
         c.rope_scaling = {.type = RopeType::kLlama3,
                           .factor = 8,
                           .original_max_position_embeddings = 32,
                           .low_freq_factor = 1,
                           .high_freq_factor = 4};
         c.rope_theta = 50;
       }},
      {"yarn",
       [](ModelConfig& c) {
         c.rope_scaling = {
             .type = RopeType::kYarn, .factor = 4, .original_max_position_embeddings = 64, .attention_factor = 1.2};
         c.rope_theta = 500;
       }},
      {"yarn_untruncated",
       [](ModelConfig& c) {
         c.rope_scaling = {.type = RopeType::kYarn,
                           .factor = 6,
                           .original_max_position_embeddings = 100,
                           .beta_fast = 9,
                           .beta_slow = 2,
                           .truncate = false,
                           .attention_factor = 0.8};
         c.rope_theta = 90;
       }},
      {"qwen2_like",
       [](ModelConfig& c) {
         c.qkv_bias = true;
         c.windows = {5};
         c.rms_norm_eps = 1e-3;
       }},
      {"qwen3_like",
       [](ModelConfig& c) {
         c.qk_norm = c.qkv_bias = c.output_bias = true;
         c.windows = {9};
         c.rope_scaling = {
             .type = RopeType::kYarn, .factor = 2, .original_max_position_embeddings = 40, .attention_factor = 1.07};
       }},
      {"everything",
       [](ModelConfig& c) {
         c.qk_norm = c.qkv_bias = c.output_bias = c.mlp_bias = true;
         c.windows = {3};
         c.rotary_blocks = {0};
         c.rms_norm_eps = 1e-2;
       }},
  };
  return cases;
}

inline void PrintTo(const DecoderCase& decoder_case, std::ostream* out) { *out << decoder_case.name; }

inline ModelConfig config_of(const DecoderCase& c) {
  ModelConfig config;
  config.vocab_size = c.vocab;
  config.hidden_size = c.hidden;
  config.intermediate_size = c.inner;
  config.num_hidden_layers = 1;
  config.num_attention_heads = c.heads;
  config.num_key_value_heads = c.kv_heads;
  config.head_dim = c.head_dim;
  config.rms_norm_eps = 1e-5;
  if (c.set_switches != nullptr) c.set_switches(config);
  return config;
}

// A batch that owns its arrays. Every third target is untrained, and so is the whole last row where there are several.
struct TestBatch {
  TestBatch(const DecoderCase& c, uint64_t seed) : rows(c.rows), length(c.length) {
    starts.push_back(0);
    for (int64_t token = 1; token <= rows * length; ++token) {
      const bool cut = std::find(c.cuts.begin(), c.cuts.end(), token) != c.cuts.end();
      if (token % length == 0 || cut) starts.push_back(static_cast<int32_t>(token));
    }
    const CounterRandom random(seed, 7);
    size_t segment = 0;
    for (int32_t token = 0; token < rows * length; ++token) {
      while (token >= starts[segment + 1]) ++segment;
      positions.push_back(token - starts[segment]);
      const bool untrained = token % 3 == 2 || (rows > 1 && token >= (rows - 1) * length);
      const auto target =
          static_cast<int32_t>(random.below(static_cast<uint64_t>(token), static_cast<uint64_t>(c.vocab)));
      targets.push_back(untrained ? kUntrainedTarget : target);
    }
  }
  BatchView view() const { return in_host_memory({rows, length, positions, targets, starts}); }

  int64_t rows, length;
  std::vector<int32_t> positions, targets, starts;
};

}  // namespace penstock
