#include "model/rope_scaling_json.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "fmt/format.h"
#include "model/strict_json.h"

namespace penstock {
namespace {

using nlohmann::json;

struct NamedRopeType {
  const char* name;
  RopeType type;
  std::array<const char*, 8> fields;  // those it uses beside rope_theta
};

constexpr NamedRopeType kRopeTypes[] = {
    {"default", RopeType::kDefault, {}},
    {"linear", RopeType::kLinear, {"factor"}},
    {"dynamic", RopeType::kDynamic, {"factor"}},
    {"yarn",
     RopeType::kYarn,
     {"factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow", "mscale",
      "mscale_all_dim", "truncate"}},
    {"llama3",
     RopeType::kLlama3,
     {"factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"}},
};

const NamedRopeType& named_type(RopeType type) {
  return *std::find_if(std::begin(kRopeTypes), std::end(kRopeTypes),
                       [type](const NamedRopeType& named) { return named.type == type; });
}

// rope_type is the newer name of type.
const NamedRopeType& read_type(const ConfigFields& fields) {
  const char* used = fields.find("rope_type") != nullptr ? "rope_type" : "type";
  const json* value = fields.find(used);
  if (value == nullptr) return kRopeTypes[0];
  if (const json* other = fields.find("type"); other != nullptr && *other != *value) {
    fields.refuse("type", fmt::format("rope_type is {}: make them agree", json_excerpt(*value)));
  }
  for (const NamedRopeType& named : kRopeTypes) {
    if (*value == named.name) return named;
  }
  fields.refuse(used, "Penstock supports default, linear, dynamic, yarn and llama3: use a model with one of these");
}

void check_fields(const ConfigFields& fields, const NamedRopeType& type) {
  for (const auto& [name, value] : fields.object().items()) {
    const auto is_name = [&name = name](const char* field) { return field != nullptr && name == field; };
    if (name == "rope_type" || name == "type" || name == "rope_theta") continue;
    if (std::any_of(type.fields.begin(), type.fields.end(), is_name)) continue;
    if (name == "partial_rotary_factor") {
      if (value.is_null() || value == 1.0) continue;
      fields.refuse(name, "Penstock rotates whole heads only: use a model with 1.0");
    }
    fields.refuse(name,
                  fmt::format("rotary positions of type {} do not use it: remove it or correct the type", type.name));
  }
}

double required_number(const ConfigFields& fields, const char* field, const NamedRopeType& type) {
  const std::optional<double> value = fields.number(field);
  if (!value) fields.refuse(field, fmt::format("rotary positions of type {} need it", type.name));
  return *value;
}

// null counts as absent, as transformers reads the optional fields of yarn.
std::optional<double> optional_number(const ConfigFields& fields, const char* field) {
  return fields.find(field) == nullptr ? std::nullopt : fields.number(field);
}

double magnitude(double factor, double scale) { return factor <= 1 ? 1 : 0.1 * scale * std::log(factor) + 1; }

// What cos and sin are multiplied with. Zero counts as absent for the two scales.
double yarn_attention_factor(const ConfigFields& fields, double factor) {
  if (const std::optional<double> given = optional_number(fields, "attention_factor")) return *given;
  const double scale = optional_number(fields, "mscale").value_or(0);
  const double scale_all_dim = optional_number(fields, "mscale_all_dim").value_or(0);
  if (scale == 0 || scale_all_dim == 0) return magnitude(factor, 1);
  return magnitude(factor, scale) / magnitude(factor, scale_all_dim);
}

void read_yarn(const ConfigFields& fields, int64_t max_position_embeddings, RopeScaling& scaling) {
  if (!fields.contains("factor")) fields.refuse("factor", "rotary positions of type yarn need it");
  const double implied = static_cast<double>(max_position_embeddings) /
                         static_cast<double>(std::max<int64_t>(scaling.original_max_position_embeddings, 1));
  scaling.factor = optional_number(fields, "factor").value_or(implied);
  scaling.attention_factor = yarn_attention_factor(fields, scaling.factor);
  const auto nonzero_or = [&](const char* field, double absent) {
    const double value = optional_number(fields, field).value_or(0);
    return value == 0 ? absent : value;
  };
  scaling.beta_fast = nonzero_or("beta_fast", 32);
  scaling.beta_slow = nonzero_or("beta_slow", 1);
  scaling.truncate = fields.boolean("truncate").value_or(true);
}

RopeScaling read_scaling(const ConfigFields& fields, int64_t max_position_embeddings) {
  const NamedRopeType& type = read_type(fields);
  check_fields(fields, type);
  RopeScaling scaling{.type = type.type};
  if (type.type == RopeType::kDefault) return scaling;
  if (type.type == RopeType::kYarn || type.type == RopeType::kLlama3) {
    scaling.original_max_position_embeddings =
        fields.integer("original_max_position_embeddings").value_or(max_position_embeddings);
  }
  if (type.type == RopeType::kYarn) {
    read_yarn(fields, max_position_embeddings, scaling);
    return scaling;
  }
  scaling.factor = required_number(fields, "factor", type);
  if (type.type == RopeType::kLlama3) {
    scaling.low_freq_factor = required_number(fields, "low_freq_factor", type);
    scaling.high_freq_factor = required_number(fields, "high_freq_factor", type);
  }
  return scaling;
}

// The positions that one of the two objects describes. `theta` is the one beside the object.
std::optional<RotaryPositions> read_object(const ConfigFields& fields, const char* field, std::optional<double> theta,
                                           double default_theta, int64_t max_position_embeddings) {
  const json* object = fields.find(field);
  if (object == nullptr) return std::nullopt;
  if (!object->is_object()) fields.refuse(field, "it must be an object");
  if (object->empty()) return std::nullopt;
  const ConfigFields inner(*object, fmt::format("{}: {}", fields.where(), field));
  const RopeScaling scaling = read_scaling(inner, max_position_embeddings);
  const std::optional<double> own_theta = inner.number("rope_theta");
  if (theta && own_theta && *theta != *own_theta) {
    fields.refuse("rope_theta", fmt::format("{}.rope_theta is {}: make them agree", field, *own_theta));
  }
  if (fields.contains("rope_theta") && !theta && !own_theta) fields.refuse("rope_theta", "it must be a number");
  return RotaryPositions{own_theta.value_or(theta.value_or(default_theta)), scaling};
}

}  // namespace

RotaryPositions read_rotary_positions(const ConfigFields& fields, double default_theta,
                                      int64_t max_position_embeddings) {
  const std::optional<double> theta = optional_number(fields, "rope_theta");
  const auto read = [&](const char* field) {
    return read_object(fields, field, theta, default_theta, max_position_embeddings);
  };
  const std::optional<RotaryPositions> version4 = read("rope_scaling"), version5 = read("rope_parameters");
  if (version4 && version5 && *version4 != *version5) {
    fields.refuse("rope_scaling", "rope_parameters says otherwise: make them agree, with rope_theta in both or beside");
  }
  if (version4) return *version4;
  if (version5) return *version5;
  if (fields.contains("rope_theta") && !theta) fields.refuse("rope_theta", "it must be a number");
  return RotaryPositions{theta.value_or(default_theta), RopeScaling{}};
}

json rope_scaling_json(const RopeScaling& scaling) {
  json object = {{"rope_type", named_type(scaling.type).name}};
  if (scaling.type == RopeType::kDefault) return object;
  object["factor"] = scaling.factor;
  if (scaling.type == RopeType::kLlama3) {
    object["low_freq_factor"] = scaling.low_freq_factor;
    object["high_freq_factor"] = scaling.high_freq_factor;
  }
  if (scaling.type == RopeType::kYarn) {
    object["attention_factor"] = scaling.attention_factor;
    object["beta_fast"] = scaling.beta_fast;
    object["beta_slow"] = scaling.beta_slow;
    object["truncate"] = scaling.truncate;
  }
  if (scaling.type == RopeType::kLlama3 || scaling.type == RopeType::kYarn) {
    object["original_max_position_embeddings"] = scaling.original_max_position_embeddings;
  }
  return object;
}

}  // namespace penstock
