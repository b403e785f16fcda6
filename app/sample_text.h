// Text after a prompt, by the run's tokenizer. The prompt becomes tokens once, before anything large is allocated: its
// length decides what the plan needs.
#pragma once

#include <string>
#include <vector>

#include "app/run_setup.h"

namespace penstock {

struct Prompt {
  std::vector<int32_t> tokens;       // at least one
  std::vector<int32_t> stop_tokens;  // where a continuation ends
};

// Throws Error(kBadInput) unless the run has a tokenizer, and bytes are those of the model.
void require_promptable(const RunSetup& setup);

// generation.prompt with the special tokens that belong in front. CHECKs that the run has a tokenizer. Throws
// Error(kBadInput), Error(kIo).
Prompt encode_prompt(const RunSetup& setup);

// Throws Error(kBadInput) unless the prompt and at least one and all of max_new_tokens fit max_position_embeddings.
void require_positions(const RunSetup& setup, const Prompt& prompt);

// The plan under which continue_text() continues `prompt`: fewer than max_new_tokens where the model's positions end.
// Throws Error(kBadInput) where the prompt alone takes them all.
RunPlan sample_plan(const RunSetup& setup, const Prompt& prompt);

// What the model adds to the prompt, by an engine made for it; special tokens are left out.
std::string continue_text(const RunSetup& setup, ModelMemory& memory, const Prompt& prompt);

}  // namespace penstock
