// The model of a run: its folder or its shape from the configuration, and which of its tensors are trained.
#pragma once

#include "app/run_setup.h"

namespace penstock {

// Fills model_folder, model and trainable from setup.config, and decides its dataset.tokenizer. Throws
// Error(kBadInput).
void set_up_model(RunSetup& setup);

// For verbs that read rows: warns where they are longer than the model's positions, and throws Error(kBadInput) where
// its positions are scaled by the length.
void require_row_positions(const RunSetup& setup);

// Of the whole model, and of what is trained.
struct ParameterCounts {
  uint64_t all = 0, trained = 0;
};
ParameterCounts parameter_counts(const RunSetup& setup);

// True where the first weights are drawn, not loaded.
bool starts_from_scratch(const RunSetup& setup);

}  // namespace penstock
