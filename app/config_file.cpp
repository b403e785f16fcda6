#include "app/config_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>
#include <set>

#include "app/config_aliases.h"
#include "app/config_file_checks.h"
#include "app/config_file_syntax.h"
#include "app/config_file_values.h"
#include "app/config_keys.h"
#include "core/error.h"

namespace penstock {

namespace {

bool is_section(const std::string& name) {
  const auto& sections = config_sections();
  return std::find(sections.begin(), sections.end(), name) != sections.end();
}

// Takes settings one by one, the file's first, into a RunConfig; collects problems and warnings.
class ConfigLoader {
 public:
  ConfigLoader(std::string file, const WarningSink& warn) : file_(std::move(file)), warn_(warn) {}

  void take_file(const std::string& text);
  void take_overrides(const std::vector<std::string>& tokens);
  RunConfig finish(DataNeed need);

 private:
  std::string place(int line) const {
    if (line == kCommandLine) return "command line";
    return line == kWholeFile ? file_ : fmt::format("{}:{}", file_, line);
  }
  void report(int line, std::string text) { problems_.push_back({line, std::move(text)}); }
  void warn_once(int line, const std::string& name, const std::string& full_name);
  void check_sections(const std::vector<RawSection>& sections);
  const ConfigKey* resolve(const RawSetting& setting, bool dotted);
  void take(RawSetting setting);
  void take_override(const std::string& name, const std::string& value);
  [[noreturn]] void throw_problems();

  std::string file_;
  const WarningSink& warn_;
  RunConfig config_;
  GivenKeys given_;
  std::map<std::string, int> file_lines_;  // where the file set each key
  std::set<std::string> unknown_sections_;
  std::set<std::string> warned_;
  std::vector<ConfigProblem> problems_;
  bool complete_ = true;  // false: the file could not be read to its end, nothing is known to be missing
};

void ConfigLoader::warn_once(int line, const std::string& name, const std::string& full_name) {
  if (warned_.insert(name).second) warn_(fmt::format("{}: {} is read as {}", place(line), name, full_name));
}

void ConfigLoader::check_sections(const std::vector<RawSection>& sections) {
  std::map<std::string, int> first_lines;
  for (const RawSection& section : sections) {
    if (!is_section(section.name)) {
      const std::string nearest = nearest_section_name(section.name);
      report(section.line, nearest.empty() ? fmt::format("unknown section {}; the sections are: {}",
                                                         shown_text(section.name), fmt::join(config_sections(), ", "))
                                           : fmt::format("unknown section {}; the nearest section is {}",
                                                         shown_text(section.name), nearest));
      unknown_sections_.insert(section.name);
    }
    const auto [first, is_new] = first_lines.emplace(section.name, section.line);
    if (!is_new) {
      report(section.line,
             fmt::format("section {} is given twice (first at line {})", shown_text(section.name), first->second));
    }
  }
}

const ConfigKey* ConfigLoader::resolve(const RawSetting& setting, bool dotted) {
  const std::string written = setting.section.empty() ? setting.name : setting.section + "." + setting.name;
  // The keys of a section that was reported already are looked up as if the file were flat.
  const bool section_reported = !dotted && unknown_sections_.count(setting.section) > 0;
  const bool section_counts = !setting.section.empty() && !section_reported;
  if (!section_counts || is_section(setting.section)) {
    const ConfigKey* key = find_config_key(setting.name);
    if (key != nullptr) {
      if (section_counts && setting.section != key->section) warn_once(setting.line, written, key->full_name());
      return key;
    }
    const std::string_view alias = resolve_alias(setting.section, setting.name);
    if (!alias.empty()) {
      warn_once(setting.line, written, std::string(alias));
      return &config_key(alias);
    }
  }
  std::string nearest = nearest_key_name(setting.name);
  if (nearest.empty()) nearest = nearest_key_name(written);
  report(setting.line, nearest.empty()
                           ? fmt::format("unknown key {}; `docs/configuration.md` lists all keys", shown_text(written))
                           : fmt::format("unknown key {}; the nearest key is {}", shown_text(written), nearest));
  return nullptr;
}

void ConfigLoader::take(RawSetting setting) {
  const bool top_level = setting.section.empty();
  if (top_level && is_section(setting.name)) {
    const bool empty = !setting.is_list && setting.values.at(0).text.empty() && !setting.values.at(0).quoted;
    if (!empty) report(setting.line, fmt::format("{} is a section; its keys go below it", setting.name));
    return;
  }
  const size_t dot = top_level ? setting.name.find('.') : std::string::npos;
  if (dot != std::string::npos) {
    setting.section = setting.name.substr(0, dot);
    setting.name = setting.name.substr(dot + 1);
  }
  const ConfigKey* key = resolve(setting, dot != std::string::npos);
  if (key == nullptr) return;
  if (setting.line != kCommandLine) {
    const auto [first, is_new] = file_lines_.emplace(key->full_name(), setting.line);
    if (!is_new) {
      report(setting.line, fmt::format("{} is set twice (first at line {})", key->full_name(), first->second));
      return;
    }
  }
  const std::variant<KeyValue, ValueProblem> parsed = parse_key_value(*key, setting);
  if (const ValueProblem* problem = std::get_if<ValueProblem>(&parsed)) {
    report(setting.line, problem->text);
    given_.add(*key, setting.line, false);
    return;
  }
  const KeyValue& value = std::get<KeyValue>(parsed);
  key->write(config_, value);
  if (std::holds_alternative<std::monostate>(value)) {
    given_.remove(key->full_name());
  } else {
    given_.add(*key, setting.line, true);
  }
}

void ConfigLoader::take_file(const std::string& text) {
  RawConfig raw = parse_config_text(text);
  problems_ = std::move(raw.problems);
  complete_ = raw.complete;
  check_sections(raw.sections);
  for (RawSetting& setting : raw.settings) take(std::move(setting));
}

// A value in brackets is a YAML list; anything else is one scalar as it stands (globs hold *, { and commas).
void ConfigLoader::take_override(const std::string& name, const std::string& value) {
  RawSetting setting{"", name, {RawScalar{value, false}}, false, kCommandLine};
  if (!value.empty() && value[0] == '[') {
    RawConfig raw = parse_config_text("value: " + value);
    if (!raw.problems.empty() || raw.settings.size() != 1) {
      report(kCommandLine, fmt::format("{}: {} is not a YAML list; quote its texts", name, shown_text(value)));
      return;
    }
    setting.values = std::move(raw.settings[0].values);
    setting.is_list = raw.settings[0].is_list;
  }
  take(std::move(setting));
}

void ConfigLoader::take_overrides(const std::vector<std::string>& tokens) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    const std::string& token = tokens[i];
    const bool dashed = token.rfind("--", 0) == 0;
    const size_t equals = token.find('=');
    std::string name = token.substr(0, equals);
    if (dashed) {
      name.erase(0, 2);
      std::replace(name.begin(), name.end(), '-', '_');
    }
    if (equals != std::string::npos) {
      take_override(name, token.substr(equals + 1));
    } else if (dashed && i + 1 < tokens.size()) {
      take_override(name, tokens[++i]);
    } else {
      report(kCommandLine, fmt::format("{} has no value; write section.key=value", shown_text(token)));
    }
  }
}

void ConfigLoader::throw_problems() {
  // In the order of the file; then what concerns it as a whole, then the command line.
  const auto rank = [](const ConfigProblem& problem) {
    if (problem.line > 0) return std::pair(0, problem.line);
    return std::pair(problem.line == kWholeFile ? 1 : 2, 0);
  };
  std::stable_sort(problems_.begin(), problems_.end(),
                   [&](const ConfigProblem& a, const ConfigProblem& b) { return rank(a) < rank(b); });
  std::string text;
  for (const ConfigProblem& problem : problems_) {
    if (!text.empty()) text += '\n';
    text += place(problem.line) + ": " + problem.text;
  }
  throw Error(ExitCode::kBadInput, text);
}

RunConfig ConfigLoader::finish(DataNeed need) {
  if (complete_) check_run_config(config_, given_, need, problems_);
  if (!problems_.empty()) throw_problems();
  complete_run_config(config_, given_);
  return config_;
}

std::string read_config_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kLargestConfigBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad() || (file.fail() && !file.eof())) {
    throw Error(ExitCode::kBadInput, path.string() + ": cannot be read; give the path of a configuration file");
  }
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

}  // namespace

RunConfig parse_run_config(const std::string& text, const std::string& name, const std::vector<std::string>& overrides,
                           const WarningSink& warn, DataNeed need) {
  ConfigLoader loader(name, warn);
  loader.take_file(text);
  loader.take_overrides(overrides);
  return loader.finish(need);
}

RunConfig load_run_config(const std::filesystem::path& path, const std::vector<std::string>& overrides,
                          const WarningSink& warn, DataNeed need) {
  return parse_run_config(read_config_file(path), path.string(), overrides, warn, need);
}

std::string dump_run_config(const RunConfig& config) {
  std::string text = "# The effective configuration: every key with the value that counts.\n";
  std::string_view section;
  for (const ConfigKey& key : config_keys()) {
    if (key.section != section) text += fmt::format("{}:\n", key.section);
    section = key.section;
    text += fmt::format("  {}: {}\n", key.name, key_value_text(key, key.read(config)));
  }
  return text;
}

}  // namespace penstock
