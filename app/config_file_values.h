// One setting's text turned into its key's value: type, range, choice.
#pragma once

#include <string>
#include <variant>

#include "app/config_file_syntax.h"
#include "app/config_keys.h"

namespace penstock {

// What is wrong with a value, as one line without the place.
struct ValueProblem {
  std::string text;
};

std::variant<KeyValue, ValueProblem> parse_key_value(const ConfigKey& key, const RawSetting& setting);

// User text for a message: control characters out, long texts cut.
std::string shown_text(const std::string& text);

}  // namespace penstock
