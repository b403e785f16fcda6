// Typed access to the fields of one JSON object of config.json.
// Not lenient: a value of the wrong type is refused with file, field and value, and null is a value of its own, because
// transformers takes it for some fields only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "nlohmann/json.hpp"

namespace penstock {

class ConfigFields {
 public:
  // `where` is named in errors. `object` must outlive this.
  ConfigFields(const nlohmann::json& object, std::string where);

  // Throws Error(kBadInput): "<where>: <field> is <value>; <remedy>".
  [[noreturn]] void refuse(const std::string& field, const std::string& remedy) const;

  // Present, null included.
  bool contains(const char* field) const;
  // nullptr for an absent field and for null.
  const nlohmann::json* find(const char* field) const;

  // Empty for an absent field; anything but the type, null included, is refused.
  std::optional<int64_t> integer(const char* field) const;
  std::optional<double> number(const char* field) const;
  std::optional<bool> boolean(const char* field) const;
  // As integer(), but an absent or null field is refused.
  int64_t required_integer(const char* field) const;

  const nlohmann::json& object() const { return object_; }
  const std::string& where() const { return where_; }

 private:
  const nlohmann::json* present(const char* field) const;

  const nlohmann::json& object_;
  std::string where_;
};

// An integer that int64_t holds.
bool is_int64(const nlohmann::json& value);

}  // namespace penstock
