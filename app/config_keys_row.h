// Builds one row of the key table from a field of RunConfig. For the files of the table only.
#pragma once

#include <type_traits>
#include <utility>
#include <vector>

#include "app/config_keys.h"

namespace penstock {

template <typename T>
struct IsOptional : std::false_type {};
template <typename T>
struct IsOptional<std::optional<T>> : std::true_type {};

template <typename T>
KeyValue to_value(const T& field) {
  if constexpr (IsOptional<T>::value) {
    return field ? to_value(*field) : KeyValue{};
  } else if constexpr (std::is_enum_v<T>) {
    return static_cast<int64_t>(field);
  } else {
    return field;
  }
}

template <typename T>
void from_value(T& field, const KeyValue& value) {
  if constexpr (IsOptional<T>::value) {
    field = std::get<typename T::value_type>(value);
  } else if constexpr (std::is_enum_v<T>) {
    field = static_cast<T>(std::get<int64_t>(value));
  } else {
    field = std::get<T>(value);
  }
}

// One row; the setters name what most keys do not have.
struct Row {
  ConfigKey key;

  template <typename Access>
  Row(std::string_view name, KeyType type, Access access) {
    key.name = name;
    key.type = type;
    key.read = [access](const RunConfig& config) { return to_value(access(config)); };
    key.write = [access](RunConfig& config, const KeyValue& value) {
      if (std::holds_alternative<std::monostate>(value)) {
        const RunConfig defaults;
        access(config) = access(defaults);
      } else {
        from_value(access(config), value);
      }
    };
  }
  Row&& range(double minimum, double maximum) && {
    key.range.minimum = minimum;
    key.range.maximum = maximum;
    return std::move(*this);
  }
  Row&& above(double minimum, double maximum) && {
    key.range.minimum_open = true;
    return std::move(*this).range(minimum, maximum);
  }
  Row&& below(double minimum, double maximum) && {
    key.range.maximum_open = true;
    return std::move(*this).range(minimum, maximum);
  }
  Row&& choices(std::vector<std::string_view> names) && { return key.choices = std::move(names), std::move(*this); }
  Row&& unset(std::string_view word) && { return key.unset_word = word, std::move(*this); }
  Row&& unit(std::string_view name) && { return key.unit = name, std::move(*this); }
  Row&& shown(std::string_view text) && { return key.default_text = text, std::move(*this); }
  Row&& means(KeyEffect effect, std::string_view meaning) && {
    key.effect = effect;
    key.meaning = meaning;
    return std::move(*this);
  }
};

template <typename Access>
Row truth(std::string_view name, Access access) {
  return Row(name, KeyType::kBool, access);
}
template <typename Access>
Row whole(std::string_view name, Access access) {
  return Row(name, KeyType::kInteger, access);
}
template <typename Access>
Row number(std::string_view name, Access access) {
  return Row(name, KeyType::kNumber, access);
}
template <typename Access>
Row text(std::string_view name, Access access) {
  return Row(name, KeyType::kText, access);
}
template <typename Access>
Row texts(std::string_view name, Access access) {
  return Row(name, KeyType::kTextList, access);
}
template <typename Access>
Row choice(std::string_view name, Access access) {
  return Row(name, KeyType::kChoice, access);
}

constexpr double kMostCount = 1e15;  // steps, tokens: exact in a double
constexpr double kMostExtent = 16'777'216;
constexpr double kMostSeed = 9'007'199'254'740'991;  // 2^53 - 1

constexpr KeyEffect kNo = KeyEffect::kNone;
constexpr KeyEffect kRounding = KeyEffect::kRounding;
constexpr KeyEffect kYes = KeyEffect::kResults;

// A field of RunConfig as a generic lambda, so that one row serves reading and writing.
#define PENSTOCK_CONFIG_FIELD(path) \
  [](auto& config) -> auto& { return config.path; }

// The table's larger sections, in files of their own.
std::vector<Row> model_rows();
std::vector<Row> training_rows();

}  // namespace penstock
