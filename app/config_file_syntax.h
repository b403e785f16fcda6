// The YAML of a configuration file, as a flat list of settings with their lines; no knowledge of keys.
// Allowed: one document; sections of scalars and lists of scalars, or the same without sections. Refused with the
// line: anchors, aliases, tags, more documents, deeper nesting, more than 64 KiB.
#pragma once

#include <string>
#include <vector>

namespace penstock {

inline constexpr size_t kLargestConfigBytes = 64 * 1024;

// In place of a line: the command line, and the file as a whole.
inline constexpr int kCommandLine = -1;
inline constexpr int kWholeFile = 0;

struct RawScalar {
  std::string text;
  bool quoted = false;
};

struct RawSetting {
  std::string section;  // empty at top level
  std::string name;
  std::vector<RawScalar> values;  // one, unless is_list
  bool is_list = false;
  int line = 0;  // 1-based, or kCommandLine
};

struct RawSection {
  std::string name;
  int line = 0;
};

struct ConfigProblem {
  int line = kWholeFile;  // 1-based, or one of the two above
  std::string text;
};

struct RawConfig {
  std::vector<RawSection> sections;  // maps at top level
  std::vector<RawSetting> settings;
  std::vector<ConfigProblem> problems;
  bool complete = true;  // false: the reading ended early; there are no settings then
};

// Never throws on bad input: what is wrong is listed in `problems`. A syntax error ends the reading.
RawConfig parse_config_text(const std::string& text);

}  // namespace penstock
