// Shapes and batches for the decoder's tests.
#pragma once

#include <algorithm>
#include <cstdint>
#include <ostream>
#include <vector>

#include "core/random.h"
#include "model/batch_view.h"
#include "model/model_config.h"

namespace penstock {

struct DecoderCase {
  const char* name;
  int64_t hidden, inner, vocab, heads, kv_heads, head_dim, rows, length;
  std::vector<int32_t> cuts;  // inner segment borders beside the rows' own
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
  BatchView view() const { return {rows, length, positions, targets, starts}; }

  int64_t rows, length;
  std::vector<int32_t> positions, targets, starts;
};

}  // namespace penstock
