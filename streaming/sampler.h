// Picks the next token from logits: greedy, temperature, top-k, top-p, in the order Hugging Face applies them.
#pragma once

#include <cstdint>
#include <span>

namespace penstock {

struct SamplingSettings {
  bool greedy = false;
  double temperature = 1;  // > 0
  int64_t top_k = 0;       // 0: all
  double top_p = 1;        // in (0, 1]; the smallest set of tokens whose probability reaches it
  uint64_t seed = 0;
};

// `draw` numbers the draws of one sequence, `row` the sequence: equal numbers give equal tokens. Ties go to the lower
// id. Throws Error(kNumericStop) where the largest logit is not finite or any is NaN.
int32_t sample_token(std::span<const float> logits, const SamplingSettings& settings, uint64_t row, uint64_t draw);

}  // namespace penstock
