// JSON from files we did not write: one value, no duplicate keys, bounded nesting.
// Not a schema check: readers ask for each field by name and type.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace penstock {

// Throws Error(kBadInput) that opens with `where` (a file, perhaps with a part of it) and gives the position or key.
nlohmann::json parse_strict_json(std::string_view text, const std::string& where);

// `value` as JSON in one line, cut to a length that fits an error message.
std::string json_excerpt(const nlohmann::json& value);

// `name` as it is where it is short printable ASCII, else as json_excerpt.
std::string printable_name(const std::string& name);

}  // namespace penstock
