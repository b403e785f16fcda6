// Continues prompts: one prefill step, then one decode step a token, on the same engine and executor as training.
#pragma once

#include <cstdint>
#include <vector>

#include "streaming/sampler.h"
#include "streaming/step_engine.h"

namespace penstock {

struct GenerationRequest {
  std::vector<std::vector<int32_t>> prompts;  // token ids, each at least one
  int64_t max_new_tokens = 1;
  std::vector<int32_t> stop_tokens;  // a row ends with one of these, which is not returned
  SamplingSettings sampling;
};

// The shape an engine for this request needs: rows, longest prompt, cache capacity.
RunShape generation_shape(const ModelConfig& model, StateFormat format, DType compute,
                          const GenerationRequest& request);

// New tokens of every prompt. Batched prompts give the same tokens as single ones up to rounding.
// `keep_logits`, if not null, receives the fp32 logits of every step, [steps][rows * vocab].
std::vector<std::vector<int32_t>> generate(StepEngine& engine, const GenerationRequest& request,
                                           std::vector<std::vector<float>>* keep_logits = nullptr);

}  // namespace penstock
