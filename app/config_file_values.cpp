#include "app/config_file_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

namespace penstock {

namespace {

using Parsed = std::variant<KeyValue, ValueProblem>;

ValueProblem problem(const ConfigKey& key, const std::string& shown, std::string_view fault) {
  return {fmt::format("{}: {} {}; allowed: {}", key.full_name(), shown, fault, key.allowed_text())};
}

bool is_null(const RawScalar& scalar) {
  return !scalar.quoted && (scalar.text.empty() || scalar.text == "~" || scalar.text == "null" ||
                            scalar.text == "Null" || scalar.text == "NULL");
}

std::string_view without_plus(std::string_view text) {
  return text.size() > 1 && text[0] == '+' && text[1] != '-' ? text.substr(1) : text;
}

template <typename T>
std::errc read_number(std::string_view text, T& number) {
  text = without_plus(text);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc::invalid_argument || end != text.data() + text.size()) return std::errc::invalid_argument;
  return error;
}

Parsed parse_bool(const ConfigKey& key, const RawScalar& scalar) {
  std::string lower = scalar.text;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  const bool yes = lower == "true" || lower == "yes" || lower == "on";
  const bool no = lower == "false" || lower == "no" || lower == "off";
  if (scalar.quoted || (!yes && !no)) return problem(key, shown_text(scalar.text), "is neither true nor false");
  return KeyValue{yes};
}

Parsed parse_integer(const ConfigKey& key, const RawScalar& scalar) {
  int64_t number = 0;
  const std::errc error = read_number(scalar.text, number);
  if (scalar.quoted || error == std::errc::invalid_argument) {
    return problem(key, shown_text(scalar.text), "is not a whole number");
  }
  if (error != std::errc{} || !key.range.contains(static_cast<double>(number))) {
    return problem(key, shown_text(scalar.text), "is out of range");
  }
  return KeyValue{number};
}

// YAML writes non-finite numbers as .inf and .nan; other programs as inf and nan.
bool is_not_finite(std::string_view text) {
  std::string lower;
  for (const char c : text) lower += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  std::string_view word = lower;
  if (!word.empty() && (word[0] == '+' || word[0] == '-')) word.remove_prefix(1);
  if (!word.empty() && word[0] == '.') word.remove_prefix(1);
  return word == "inf" || word == "infinity" || word == "nan";
}

Parsed parse_number(const ConfigKey& key, const RawScalar& scalar) {
  if (!scalar.quoted && is_not_finite(scalar.text)) return problem(key, shown_text(scalar.text), "is not finite");
  double number = 0;
  const std::errc error = read_number(scalar.text, number);
  if (scalar.quoted || error == std::errc::invalid_argument) {
    return problem(key, shown_text(scalar.text), "is not a number");
  }
  if (error != std::errc{} || !key.range.contains(number)) {
    return problem(key, shown_text(scalar.text), "is out of range");
  }
  return KeyValue{number};
}

Parsed parse_choice(const ConfigKey& key, const RawScalar& scalar) {
  const auto found = std::find(key.choices.begin(), key.choices.end(), scalar.text);
  if (found == key.choices.end()) return problem(key, shown_text(scalar.text), "is not one of the choices");
  return KeyValue{static_cast<int64_t>(found - key.choices.begin())};
}

Parsed parse_list(const ConfigKey& key, const RawSetting& setting) {
  std::vector<std::string> items;
  if (!setting.is_list && is_null(setting.values.at(0))) return KeyValue{items};
  for (const RawScalar& scalar : setting.values) {
    if (scalar.text.empty() || is_null(scalar)) return problem(key, "an empty text", "is no path");
    items.push_back(scalar.text);
  }
  return KeyValue{items};
}

}  // namespace

std::string shown_text(const std::string& text) {
  constexpr size_t kLongestShown = 60;
  if (text.empty()) return "an empty text";
  std::string shown;
  for (const char c : text.substr(0, kLongestShown)) shown += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  return "'" + shown + (text.size() > kLongestShown ? "...'" : "'");
}

Parsed parse_key_value(const ConfigKey& key, const RawSetting& setting) {
  if (key.type == KeyType::kTextList) return parse_list(key, setting);
  if (setting.is_list) return problem(key, "a list", "is not one value");
  const RawScalar& scalar = setting.values.at(0);
  if (!key.unset_word.empty() && (is_null(scalar) || scalar.text == key.unset_word)) return KeyValue{};
  if (is_null(scalar) && key.type != KeyType::kText) return problem(key, "no value", "is given");
  switch (key.type) {
    case KeyType::kBool:
      return parse_bool(key, scalar);
    case KeyType::kInteger:
      return parse_integer(key, scalar);
    case KeyType::kNumber:
      return parse_number(key, scalar);
    case KeyType::kChoice:
      return parse_choice(key, scalar);
    default:
      return KeyValue{is_null(scalar) ? std::string() : scalar.text};
  }
}

}  // namespace penstock
