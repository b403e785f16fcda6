// config.json of a Hugging Face folder, in transformers' version 4 and version 5 dialects.
// Every field that changes the maths is honoured or refused by name; so is a field we have never heard of.
#pragma once

#include <string>
#include <string_view>

#include "core/dtype.h"
#include "model/model_config.h"

namespace penstock {

// `file` is named in errors. Throws Error(kBadInput): the field, its value and what to change. The result is valid.
// Of a multimodal folder, whose model lies in text_config, the text part is read.
ModelConfig parse_config_json(std::string_view text, const std::string& file);

// Whether the model lies in text_config. Throws Error(kBadInput) for text that is not a JSON object.
bool has_text_config(std::string_view text, const std::string& file);

// Text that both dialects read as the same model; `dtype` is the element type of the weights beside it. Throws
// Error(kBadInput) for switches that the config's family cannot say.
std::string config_json_text(const ModelConfig& config, DType dtype);

// `source_text` with `dtype` in the place of its own, and nothing else changed; byte for byte where it says so already.
std::string patch_config_json(std::string_view source_text, const std::string& file, DType dtype);

// generation_config.json: the special tokens, so that generate() knows where to stop.
std::string generation_config_json_text(const ModelConfig& config);

}  // namespace penstock
