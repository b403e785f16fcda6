#include "app/config_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "app/config_aliases.h"
#include "core/check.h"

namespace penstock {

namespace {

// A number as a person writes it: 16777216 rather than 1.6777216e+07.
std::string bound_text(double bound) {
  return std::floor(bound) == bound && std::abs(bound) < 1e16 ? fmt::format("{:.0f}", bound) : fmt::format("{}", bound);
}

// Edits (insert, delete, replace, swap of neighbours) that turn one word into the other.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> cost(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        cost[i][j] = i + j;
        continue;
      }
      const size_t replace = cost[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      cost[i][j] = std::min({replace, cost[i - 1][j] + 1, cost[i][j - 1] + 1});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
    }
  }
  return cost[a.size()][b.size()];
}

// Keeps the best candidate; words that share less than half their letters are not near.
class NearestName {
 public:
  explicit NearestName(std::string_view wanted) : wanted_(wanted.substr(0, kLongestName)) {}

  void offer(std::string_view spelling, std::string_view name) {
    const size_t distance = edit_distance(wanted_, spelling);
    if (distance * 2 > std::max(wanted_.size(), spelling.size())) return;
    if (!best_.empty() && distance >= best_distance_) return;
    best_ = name;
    best_distance_ = distance;
  }
  const std::string& best() const { return best_; }

 private:
  static constexpr size_t kLongestName = 64;  // the cost is quadratic, and no key is longer
  std::string_view wanted_;
  std::string best_;
  size_t best_distance_ = 0;
};

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out + "\"";
}

}  // namespace

bool KeyRange::contains(double value) const {
  const bool above = minimum_open ? value > minimum : value >= minimum;
  const bool below = maximum_open ? value < maximum : value <= maximum;
  return above && below;
}

std::string KeyRange::text() const {
  if (!minimum_open && !maximum_open) return bound_text(minimum) + " .. " + bound_text(maximum);
  return fmt::format("{} {}, {} {}", minimum_open ? "above" : "from", bound_text(minimum),
                     maximum_open ? "below" : "up to", bound_text(maximum));
}

std::string ConfigKey::allowed_text() const {
  std::string text;
  switch (type) {
    case KeyType::kBool:
      text = "true or false";
      break;
    case KeyType::kInteger:
      text = "a whole number, " + range.text();
      break;
    case KeyType::kNumber:
      text = "a number, " + range.text();
      break;
    case KeyType::kText:
      text = "text";
      break;
    case KeyType::kTextList:
      text = "text, or a list of texts";
      break;
    case KeyType::kChoice:
      text = fmt::format("{}", fmt::join(choices, " | "));
      break;
  }
  return unset_word.empty() ? text : fmt::format("{}, or {}", text, unset_word);
}

const ConfigKey* find_config_key(std::string_view name) {
  const auto& keys = config_keys();
  const auto found = std::find_if(keys.begin(), keys.end(), [&](const ConfigKey& key) { return key.name == name; });
  return found == keys.end() ? nullptr : &*found;
}

const ConfigKey& config_key(std::string_view full_name) {
  for (const ConfigKey& key : config_keys()) {
    if (key.full_name() == full_name) return key;
  }
  const bool key_exists = false;
  CHECK(key_exists);
  return config_keys().front();
}

std::string key_value_text(const ConfigKey& key, const KeyValue& value) {
  if (std::holds_alternative<std::monostate>(value)) {
    CHECK(!key.unset_word.empty());
    return std::string(key.unset_word);
  }
  switch (key.type) {
    case KeyType::kBool:
      return std::get<bool>(value) ? "true" : "false";
    case KeyType::kInteger:
      return fmt::format("{}", std::get<int64_t>(value));
    case KeyType::kNumber:
      return fmt::format("{}", std::get<double>(value));  // shortest text that reads back equal
    case KeyType::kText:
      return quoted(std::get<std::string>(value));
    case KeyType::kChoice:
      return std::string(key.choices.at(static_cast<size_t>(std::get<int64_t>(value))));
    case KeyType::kTextList:
      break;
  }
  std::vector<std::string> items;
  for (const std::string& item : std::get<std::vector<std::string>>(value)) items.push_back(quoted(item));
  return fmt::format("[{}]", fmt::join(items, ", "));
}

std::string nearest_key_name(std::string_view name) {
  NearestName nearest(name);
  for (const ConfigKey& key : config_keys()) {
    nearest.offer(key.name, key.full_name());
    nearest.offer(key.full_name(), key.full_name());
  }
  for (const ConfigAlias& alias : config_aliases()) {
    nearest.offer(alias.name, config_key(alias.full_name).full_name());
  }
  return nearest.best();
}

std::string nearest_section_name(std::string_view name) {
  NearestName nearest(name);
  for (const std::string& section : config_sections()) nearest.offer(section, section);
  return nearest.best();
}

}  // namespace penstock
