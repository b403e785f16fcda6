// The model of a run: its folder or its shape from the configuration, and which of its tensors are trained.
#pragma once

#include "app/run_setup.h"

namespace penstock {

// Fills model_folder, model and trainable from setup.config, and decides its dataset.tokenizer. Warns of rows longer than the model's positions. Throws
// Error(kBadInput).
void set_up_model(RunSetup& setup);

}  // namespace penstock
