// The one table of configuration keys: name, type, range, unit, default, meaning, and whether the key changes results.
// The loader, the effective config, docs/configuration.md and every error text come from it.
// Not a parser of files. Invariant: leaf names are unique across sections.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "app/run_config.h"

namespace penstock {

enum class KeyType : uint8_t { kBool, kInteger, kNumber, kText, kTextList, kChoice };

// What a key does to the numbers of a run (DESIGN.md, section 2).
enum class KeyEffect : uint8_t { kNone, kRounding, kResults };

// The allowed values of an integer or a number. Integers stay below 2^53, so doubles hold them exactly.
struct KeyRange {
  double minimum = 0;
  double maximum = 0;
  bool minimum_open = false;  // the bound itself is not allowed
  bool maximum_open = false;

  bool contains(double value) const;
  std::string text() const;  // "0 .. 1", "above 0, up to 1"
};

// A key's value without its type. A choice is the index into ConfigKey::choices; monostate is "unset".
using KeyValue = std::variant<std::monostate, bool, int64_t, double, std::string, std::vector<std::string>>;

struct ConfigKey {
  std::string section;
  std::string name;  // the leaf
  KeyType type = KeyType::kText;
  KeyRange range;                         // kInteger and kNumber
  std::vector<std::string_view> choices;  // kChoice, in enum order
  std::string_view unset_word;            // "auto" or "null" where the key may be left unset, else ""
  std::string_view unit;
  std::string_view default_text;  // shown instead of the default value where that alone says too little
  KeyEffect effect = KeyEffect::kNone;
  std::string_view meaning;

  std::function<KeyValue(const RunConfig&)> read;
  std::function<void(RunConfig&, const KeyValue&)> write;

  std::string full_name() const { return section + "." + name; }
  std::string allowed_text() const;  // "a whole number, 1 .. 64", "keep or recompute"
};

// In the order of the sections and of the documentation.
const std::vector<ConfigKey>& config_keys();
const std::vector<std::string>& config_sections();

// By leaf name; null if there is none.
const ConfigKey* find_config_key(std::string_view name);
// By "section.name"; CHECKs that it exists.
const ConfigKey& config_key(std::string_view full_name);

// The value as YAML, loadable again: "0.001", "auto", "\"a b\"", "[\"x\", \"y\"]".
std::string key_value_text(const ConfigKey& key, const KeyValue& value);

// The valid section, key or alias whose spelling is nearest; empty where nothing is near. For keys the full name.
std::string nearest_key_name(std::string_view name);
std::string nearest_section_name(std::string_view name);

}  // namespace penstock
