// The ops that only generation has: prefill, decode, logits, sample. Embed and fetches are those of training.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "core/worker_team.h"
#include "model/decoder.h"
#include "streaming/op_context.h"
#include "streaming/run_plan.h"

namespace penstock {

// Valid until the step's last host op is done.
struct GenerationInputs {
  std::span<const int32_t> cache_lengths;   // [rows] tokens in the KV cache before this step
  std::span<const int32_t> last_positions;  // [rows] position whose logits are wanted, in [0, T) of this step
  // Called on the host lane with fp32 logits [rows, vocab]; writes the next token of every row.
  std::function<void(std::span<const float> logits, std::span<int32_t> next_tokens)> sample;
  BatchView batch;                  // of this step: length T for prefill, 1 for decode
  std::span<const int32_t> tokens;  // prefill only: decode embeds the tokens sampled before
};

struct GenerationWork {
  RunShape shape;
  const ModelMemory* memory = nullptr;
  const std::vector<LayerLayout>* head_parts = nullptr;
  Decoder* decoder = nullptr;
  Maths* maths = nullptr;
  WorkerTeam* team = nullptr;
  const GenerationInputs* inputs = nullptr;
};

// Overrides kEmbed: tokens come from the prompt or from the sampler. What `work` points to must outlive `handlers`.
void add_generation_handlers(OpHandlers& handlers, const GenerationWork& work);

}  // namespace penstock
