// The text of a new configuration: a model, perhaps data, and settings that fit this machine.
// Every key's comment is its row of the key table; that the text loads and fits has been tried before it is returned.
#pragma once

#include <string>
#include <vector>

namespace penstock {

struct InitRequest {
  std::string model;              // folder, hub id, or a size as "125M" or "qwen3:1.5B"
  std::vector<std::string> data;  // dataset.path; empty: a placeholder that the user must change
};

// Throws Error(kBadInput) for a model or data that cannot be used, Error(kDoesNotFit) where no setting fits.
std::string init_config_text(const InitRequest& request);

// "qwen3-4b" for "Qwen/Qwen3-4B" and for a folder of that name, "llama-125m" for "125M": a file name without ending.
std::string init_config_name(const std::string& model);

}  // namespace penstock
