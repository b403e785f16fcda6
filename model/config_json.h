// config.json of a Hugging Face folder, in transformers' version 4 and version 5 dialects.
// Every field that changes the maths is honoured or refused by name; so is a field we have never heard of.
#pragma once

#include <string>
#include <string_view>

#include "core/dtype.h"
#include "model/model_config.h"

namespace penstock {

// `file` is named in errors. Throws Error(kBadInput): the field, its value and what to change. The result is valid.
ModelConfig parse_config_json(std::string_view text, const std::string& file);

// Text that both dialects read as the same model; `dtype` is the element type of the weights beside it.
std::string config_json_text(const ModelConfig& config, DType dtype);

// generation_config.json: the special tokens, so that generate() knows where to stop.
std::string generation_config_json_text(const ModelConfig& config);

}  // namespace penstock
