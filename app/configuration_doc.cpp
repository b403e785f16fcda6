#include "app/configuration_doc.h"

#include <fmt/format.h>

#include <string_view>

#include "app/config_aliases.h"
#include "app/config_keys.h"

namespace penstock {

namespace {

constexpr std::string_view kOpening = R"(# Configuration

This page is generated from the key table in `app/config_keys_table.cpp`; a test keeps it up to date
(`PENSTOCK_UPDATE_GOLDEN=1` rewrites it). `configs/quickstart.yaml` is a commented example.

A configuration is a YAML file with the sections below. Names of keys are unique across sections, so a flat file without
sections works too. Any key can be overridden on the command line, later ones win:

```
penstock train configs/quickstart.yaml training.learning_rate=1e-3 max_steps=50 --seed 7
penstock train configs/quickstart.yaml 'dataset.path=["a/*.txt", "b/*.txt"]'
```

- Unknown keys, keys that are given twice, wrong types and values out of range are errors, with file and line; all
  errors of a file are reported at once, and nothing starts. The exit status is then 65.
- Paths are relative to the current directory.
- `null` leaves a key unset where the table names it. YAML anchors, aliases, tags, several documents and files of more
  than 64 KiB are refused.
- *Changes results*: `no` means the losses and weights of a run stay the same bit for bit on the host device; `rounding`
  means they differ by rounding only; `yes` means a different run.
- A run writes all its keys to `config.yaml` in its directory; that file can be trained from again.
)";

std::string_view effect_text(KeyEffect effect) {
  switch (effect) {
    case KeyEffect::kNone:
      return "no";
    case KeyEffect::kRounding:
      return "rounding";
    case KeyEffect::kResults:
      break;
  }
  return "yes";
}

// Bars would end a table's cell.
std::string escape_cell(std::string_view text) {
  std::string cell;
  for (const char c : text) {
    if (c == '|') cell += '\\';
    cell += c;
  }
  return cell;
}

std::string default_text(const ConfigKey& key) {
  if (!key.default_text.empty()) return std::string(key.default_text);
  const RunConfig defaults;
  const KeyValue value = key.read(defaults);
  if (value == KeyValue{std::string()} || value == KeyValue{std::vector<std::string>()}) return "empty";
  if (std::holds_alternative<std::monostate>(value) && key.unset_word == "null") {
    return key.section == "model" && key.name != "model_name_or_path" ? "must be given" : "unset";
  }
  return "`" + key_value_text(key, value) + "`";
}

std::string key_row(const ConfigKey& key) {
  const std::string unit = key.unit.empty() ? "" : fmt::format(" ({})", key.unit);
  return fmt::format("| `{}` | {} | {}{} | {} | {} |\n", key.name, default_text(key), escape_cell(key.allowed_text()),
                     unit, effect_text(key.effect), escape_cell(key.meaning));
}

}  // namespace

std::string configuration_doc() {
  std::string text(kOpening);
  for (const std::string& section : config_sections()) {
    text += fmt::format("\n## {}\n\n| key | default | values | changes results | meaning |\n|---|---|---|---|---|\n",
                        section);
    for (const ConfigKey& key : config_keys()) {
      if (key.section == section) text += key_row(key);
    }
  }
  text +=
      "\n## Names from other trainers\n\nThese are accepted, with one warning each. So is a key in the wrong section.\n"
      "\n| name | is read as |\n|---|---|\n";
  for (const ConfigAlias& alias : config_aliases())
    text += fmt::format("| `{}` | `{}` |\n", alias.name, alias.full_name);
  return text;
}

}  // namespace penstock
