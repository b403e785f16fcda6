// What a training run starts with, and everything that can refuse it: decided before the run writes its first file.
// Not the run (app/training_run.h). Nothing here writes.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "app/run_directory.h"
#include "app/sample_text.h"
#include "data/training_stream.h"
#include "streaming/checkpoint.h"

namespace penstock {

inline bool learns(const RunSetup& setup) { return setup.config.device.compute == ComputeMode::kReal; }

// The run ends with text: its tokenizer can read a prompt.
inline bool samples_at_end(const RunSetup& setup) {
  return learns(setup) && setup.config.dataset.tokenizer != Tokenizer::kNone &&
         setup.config.generation.max_new_tokens > 0;
}

// Of training; the sample after `prompt` at the end, if there is one, has been checked as well. Throws
// Error(kDoesNotFit).
RunPlan checked_plan(const RunSetup& setup, const std::optional<Prompt>& prompt);

// As choose_run_directory. Also throws Error(kBadInput) if model/ in it cannot be replaced at the end, and for a paced
// run that would continue another in place.
RunChoice choose_directory(const RunSetup& setup, const std::filesystem::path& config_path, const std::string& program);

int64_t tokens_per_step(const RunSetup& setup);

// Of several limits the first that is reached counts.
int64_t total_steps(const RunSetup& setup, const TrainingStream& stream);

DataIdentity data_identity(const RunSetup& setup, const Dataset& dataset, const TrainingStream& stream);

// Throws Error(kBadInput) that names the first key that differs and both values.
void require_same_data(const DataIdentity& saved, const DataIdentity& now, const std::filesystem::path& checkpoint);

// `auto` values that change results become those of this run, so that a resume elsewhere keeps them. decay_steps stays:
// it is counted from the end, which a resume may move.
RunConfig resolved_config(const RunSetup& setup, int64_t warmup_steps);

}  // namespace penstock
