#include "model/config_fields.h"

#include <limits>

#include "core/error.h"
#include "fmt/format.h"
#include "model/strict_json.h"

namespace penstock {

using nlohmann::json;

bool is_int64(const json& value) {
  if (value.is_number_unsigned()) {
    return value.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  }
  return value.is_number_integer();
}

ConfigFields::ConfigFields(const json& object, std::string where) : object_(object), where_(std::move(where)) {}

void ConfigFields::refuse(const std::string& field, const std::string& remedy) const {
  const auto found = object_.find(field);
  const std::string value = found == object_.end() ? "missing" : json_excerpt(*found);
  throw Error(ExitCode::kBadInput, fmt::format("{}: {} is {}; {}", where_, printable_name(field), value, remedy));
}

bool ConfigFields::contains(const char* field) const { return object_.contains(field); }

const json* ConfigFields::present(const char* field) const {
  const auto found = object_.find(field);
  return found == object_.end() ? nullptr : &*found;
}

const json* ConfigFields::find(const char* field) const {
  const json* value = present(field);
  return value == nullptr || value->is_null() ? nullptr : value;
}

std::optional<int64_t> ConfigFields::integer(const char* field) const {
  const json* value = present(field);
  if (value == nullptr) return std::nullopt;
  if (!is_int64(*value)) refuse(field, "it must be an integer");
  return value->get<int64_t>();
}

std::optional<double> ConfigFields::number(const char* field) const {
  const json* value = present(field);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) refuse(field, "it must be a number");
  return value->get<double>();
}

std::optional<bool> ConfigFields::boolean(const char* field) const {
  const json* value = present(field);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) refuse(field, "it must be true or false");
  return value->get<bool>();
}

int64_t ConfigFields::required_integer(const char* field) const {
  const std::optional<int64_t> value = integer(field);
  if (!value) refuse(field, "the shape of the model needs it");
  return *value;
}

}  // namespace penstock
