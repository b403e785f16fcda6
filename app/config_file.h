// Reads a run's configuration: a YAML file, then overrides from the command line; and writes it back in full.
// Not the list of keys (app/config_keys.h). Everything that is wrong is reported in one pass, one line each with
// file:line, and nothing is taken from a file that has an error.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "app/run_config.h"

namespace penstock {

using WarningSink = std::function<void(const std::string&)>;

// Overrides as they stand on the command line, later ones win: "training.learning_rate=1e-5", "learning_rate=1e-5",
// "--learning_rate=1e-5", or "--learning_rate" followed by "1e-5" (with - for _ if you like). The value is one
// scalar, or a YAML list in brackets.
// Accepted aliases are reported to `warn`, one line each.
// Throws Error(kBadInput): one line per error. Error(kDevice): a backend that this version does not have.
RunConfig load_run_config(const std::filesystem::path& path, const std::vector<std::string>& overrides,
                          const WarningSink& warn, DataNeed need = DataNeed::kRequired);

// The same with `text` as the file's content; `name` is how errors call it.
RunConfig parse_run_config(const std::string& text, const std::string& name, const std::vector<std::string>& overrides,
                           const WarningSink& warn, DataNeed need = DataNeed::kRequired);

// Every key with its value, as YAML. load_run_config() of it gives an equal RunConfig.
std::string dump_run_config(const RunConfig& config);

}  // namespace penstock
