// The smallest valid configuration and ways to load a text, for the tests of this folder.
#pragma once

#include <sstream>
#include <string>
#include <vector>

#include "app/config_file.h"
#include "core/error.h"

namespace penstock {

// Sections in an order that leaves `training` open for more keys at the end. 9 lines.
inline const std::string kMinimalConfig =
    "model:\n"
    "  hidden_size: 64\n"
    "  intermediate_size: 96\n"
    "  num_hidden_layers: 4\n"
    "  num_attention_heads: 4\n"
    "dataset:\n"
    "  path: a.txt\n"
    "training:\n"
    "  seed: 1\n";

inline RunConfig load_text(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return parse_run_config(text, "x.yaml", overrides, [](const std::string&) {});
}

struct Loaded {
  RunConfig config;
  std::vector<std::string> warnings;
};

inline Loaded load_with_warnings(const std::string& text, const std::vector<std::string>& overrides = {}) {
  Loaded loaded;
  loaded.config = parse_run_config(text, "x.yaml", overrides,
                                   [&](const std::string& warning) { loaded.warnings.push_back(warning); });
  return loaded;
}

// The lines of the error; empty if the text loads.
inline std::vector<std::string> errors_of(const std::string& text, const std::vector<std::string>& overrides = {}) {
  try {
    load_text(text, overrides);
  } catch (const Error& error) {
    std::vector<std::string> lines;
    std::istringstream stream(error.what());
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    return lines;
  }
  return {};
}

}  // namespace penstock
