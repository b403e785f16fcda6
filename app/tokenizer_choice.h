// What dataset.tokenizer means for the model of a run. A folder's tokenizer belongs to its weights and to the folder
// that is exported: bytes in its place would train and never be noticed, so that is refused, for new weights too.
#pragma once

#include <string>

#include "app/run_config.h"
#include "model/model_config.h"

namespace penstock {

// True where the folder's tokenizer.json is that of our byte tokenizer.
bool folder_has_byte_tokenizer(const std::string& folder);

// Never kAuto. `folder` is empty for a shape from the configuration; `model` is the folder's. Throws Error(kBadInput)
// for a choice that does not fit the folder. Bytes fit one whose model has room for them and, where no tokenizer says
// it, names their special tokens.
Tokenizer choose_tokenizer(const RunConfig& config, const std::string& folder, const ModelConfig& model);

}  // namespace penstock
