// What dataset.tokenizer means for the model of a run. A folder's tokenizer belongs to its weights: bytes in its place
// would train and never be noticed, so that is refused.
#pragma once

#include <string>

#include "app/run_config.h"

namespace penstock {

// True where the folder's tokenizer.json is that of our byte tokenizer.
bool folder_has_byte_tokenizer(const std::string& folder);

// Never kAuto. `folder` is empty for a shape from the configuration; `vocab_size` is that of the folder's model. Throws
// Error(kBadInput) for a choice that does not fit the folder.
Tokenizer choose_tokenizer(const RunConfig& config, const std::string& folder, int64_t vocab_size);

}  // namespace penstock
