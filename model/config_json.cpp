#include "model/config_json.h"

#include <algorithm>
#include <iterator>

#include "core/error.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "model/config_blocks.h"
#include "model/config_family.h"
#include "model/config_field_rules.h"
#include "model/config_fields.h"
#include "model/rope_scaling_json.h"
#include "model/strict_json.h"
#include "nlohmann/json.hpp"

namespace penstock {
namespace {

using nlohmann::json;

// Multimodal types whose text_config may be one of ours and whose text part is that model, unchanged.
struct Wrapper {
  const char* model_type;
  const char* text_defaults;  // JSON: what stands in for absent fields of text_config before the family's defaults
};

constexpr Wrapper kWrappers[] = {
    {"audioflamingo3", "{}"},
    {"fast_vlm", "{}"},
    {"got_ocr2", "{}"},
    {"idefics2", "{}"},
    {"idefics3", "{}"},
    {"internvl", "{}"},
    {"lighton_ocr", "{}"},
    {"llava", "{}"},
    {"llava_next", "{}"},
    {"llava_next_video", "{}"},
    {"llava_onevision", "{}"},
    {"mistral3", "{}"},
    {"perception_lm", "{}"},
    {"qwen2_audio", "{}"},
    {"smolvlm", "{}"},
    {"video_llava", "{}"},
    {"vipllava", "{}"},
    {"voxtral",
     R"({"vocab_size": 131072, "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 30,
         "num_key_value_heads": 8, "max_position_embeddings": 131072, "rms_norm_eps": 1e-05,
         "rope_theta": 100000000.0, "head_dim": 128})"},
};

const Wrapper* find_wrapper(const json& model_type) {
  const auto found = std::find_if(std::begin(kWrappers), std::end(kWrappers),
                                  [&](const Wrapper& wrapper) { return model_type == wrapper.model_type; });
  return found == std::end(kWrappers) ? nullptr : found;
}

json parse_object(std::string_view text, const std::string& file) {
  json root = parse_strict_json(text, file);
  if (!root.is_object()) throw Error(ExitCode::kBadInput, fmt::format("{}: must hold one JSON object", file));
  return root;
}

const ConfigFamily& require_family(const ConfigFields& fields) {
  const json* model_type = fields.find("model_type");
  if (model_type == nullptr || !model_type->is_string()) {
    fields.refuse("model_type", fmt::format("it must be one of {}", fmt::join(supported_model_types(), ", ")));
  }
  const std::string name = model_type->get<std::string>();
  const ConfigFamily* family = find_config_family(name);
  if (family == nullptr) {
    fields.refuse("model_type", fmt::format("Penstock trains {}; the nearest is {}: use a model of that type",
                                            fmt::join(supported_model_types(), ", "), nearest_model_type(name)));
  }
  return *family;
}

// Null, where the family takes it, stands for "as the other fields have it".
int64_t read_derived(const ConfigFields& fields, const char* field, int64_t absent, bool takes_null, int64_t derived) {
  if (takes_null && fields.contains(field) && fields.find(field) == nullptr) return derived;
  const int64_t value = fields.integer(field).value_or(absent);
  return fields.contains(field) || absent != 0 ? value : derived;
}

// Absent means the family's default, null means none.
int64_t read_token_id(const ConfigFields& fields, const char* field, int64_t absent) {
  if (!fields.contains(field)) return absent;
  return fields.find(field) == nullptr ? -1 : *fields.integer(field);
}

// As an index of the embedding -1 is its last row to transformers, which then neither draws nor trains that row. The
// other special tokens only choose text, and a BOS of -1 is one that no model has.
int64_t read_pad_token_id(const ConfigFields& fields, int64_t absent) {
  const int64_t id = read_token_id(fields, "pad_token_id", absent);
  if (id == -1 && fields.find("pad_token_id") != nullptr) {
    fields.refuse("pad_token_id", "to transformers that is the last token: set it to null where the model has none");
  }
  return id;
}

std::vector<int64_t> read_eos_token_ids(const ConfigFields& fields, int64_t absent) {
  const json* value = fields.find("eos_token_id");
  if (value == nullptr || !value->is_array()) {
    const int64_t id = read_token_id(fields, "eos_token_id", absent);
    return id == -1 && value == nullptr ? std::vector<int64_t>{} : std::vector<int64_t>{id};
  }
  std::vector<int64_t> ids;
  for (const json& id : *value) {
    if (!is_int64(id)) fields.refuse("eos_token_id", "it must be an integer or a list of integers");
    ids.push_back(id.get<int64_t>());
  }
  return ids;
}

void read_shape(const ConfigFields& fields, const ConfigFamily& family, ModelConfig& config) {
  config.vocab_size = fields.required_integer("vocab_size");
  config.hidden_size = fields.required_integer("hidden_size");
  config.intermediate_size = fields.required_integer("intermediate_size");
  config.num_hidden_layers = fields.required_integer("num_hidden_layers");
  const int64_t heads = config.num_attention_heads = fields.required_integer("num_attention_heads");
  config.num_key_value_heads =
      read_derived(fields, "num_key_value_heads", family.num_key_value_heads, family.null_key_value_heads, heads);
  config.head_dim = read_derived(fields, "head_dim", family.head_dim, family.null_head_dim,
                                 heads > 0 ? config.hidden_size / heads : 0);
  config.max_position_embeddings = fields.integer("max_position_embeddings").value_or(family.max_position_embeddings);
}

void read_switches(const ConfigFields& fields, const ConfigFamily& family, ModelConfig& config) {
  const bool attention_bias = fields.boolean("attention_bias").value_or(false);
  const bool by_field = family.attention_bias == AttentionBias::kByField;
  config.qkv_bias = by_field ? attention_bias : family.attention_bias == AttentionBias::kAlwaysOnInputs;
  config.output_bias = by_field && attention_bias;
  config.mlp_bias = family.reads_mlp_bias && fields.boolean("mlp_bias").value_or(false);
  config.qk_norm = family.qk_norm;
  config.tie_word_embeddings = fields.boolean("tie_word_embeddings").value_or(family.tie_word_embeddings);
  if (fields.contains("hidden_act")) {
    const json& activation = fields.object()["hidden_act"];
    if (activation != "silu" && activation != "swish") {  // two names of one function
      fields.refuse("hidden_act", "Penstock supports only \"silu\": use a model that has it");
    }
  }
}

ModelConfig read_fields(const ConfigFields& fields, const ConfigFamily& family) {
  ModelConfig config;
  config.model_type = family.model_type;
  read_shape(fields, family, config);
  read_switches(fields, family, config);
  config.rms_norm_eps = fields.number("rms_norm_eps").value_or(config.rms_norm_eps);
  config.initializer_range = fields.number("initializer_range").value_or(config.initializer_range);
  config.bos_token_id = read_token_id(fields, "bos_token_id", family.bos_token_id);
  config.eos_token_ids = read_eos_token_ids(fields, family.eos_token_id);
  config.pad_token_id = read_pad_token_id(fields, family.pad_token_id);
  const RotaryPositions rotary = read_rotary_positions(fields, family.rope_theta, config.max_position_embeddings);
  config.rope_theta = rotary.theta;
  config.rope_scaling = rotary.scaling;
  return config;
}

void validate_in(const std::string& where, const ModelConfig& config) {
  try {
    validate(config);
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("{}: {}", where, error.what()));
  }
}

ModelConfig read_model(const json& object, const std::string& where) {
  const ConfigFields fields(object, where);
  const ConfigFamily& family = require_family(fields);
  check_known_fields(fields, family);
  ModelConfig config = read_fields(fields, family);
  validate_in(where, config);  // before a list is made as long as num_hidden_layers says
  read_block_lists(fields, family, config);
  validate_in(where, config);
  return config;
}

// Version 4 asks text_config whether the head is tied, version 5 the wrapper; a folder must give one answer.
void resolve_tied_head(const ConfigFields& wrapper, json& text) {
  if (!wrapper.contains("tie_word_embeddings")) return;
  const bool outer = *wrapper.boolean("tie_word_embeddings");
  if (text.contains("tie_word_embeddings") && text["tie_word_embeddings"] != outer) {
    wrapper.refuse("tie_word_embeddings",
                   fmt::format("text_config.tie_word_embeddings is {}: set both to true where the weights have no "
                               "lm_head of their own, else to false",
                               json_excerpt(text["tie_word_embeddings"])));
  }
  text["tie_word_embeddings"] = outer;
}

// What the wrapper, then the family says where text_config says nothing.
void fill_absent_fields(const Wrapper& wrapper, const ConfigFamily& family, json& text) {
  json defaults = json::parse(wrapper.text_defaults);
  for (const char* field : {"rope_scaling", "rope_parameters"}) {  // rope_theta in there comes first
    if (text.contains(field) && text[field].is_object() && text[field].contains("rope_theta")) {
      defaults.erase("rope_theta");
    }
  }
  defaults.emplace("vocab_size", family.vocab_size);
  defaults.emplace("hidden_size", family.hidden_size);
  defaults.emplace("intermediate_size", family.intermediate_size);
  defaults.emplace("num_hidden_layers", family.num_hidden_layers);
  defaults.emplace("num_attention_heads", family.num_attention_heads);
  defaults.update(text);
  text = std::move(defaults);
}

ModelConfig read_text_part(const json& root, const std::string& file) {
  const ConfigFields fields(root, file);
  const json* model_type = fields.find("model_type");
  const Wrapper* wrapper = model_type == nullptr ? nullptr : find_wrapper(*model_type);
  if (wrapper == nullptr) {
    fields.refuse("model_type",
                  fmt::format("Penstock does not know how this type uses its text_config; it trains {} "
                              "and the text part of llava, mistral3, idefics3, internvl, voxtral and others",
                              fmt::join(supported_model_types(), ", ")));
  }
  check_wrapper_fields(fields);
  json text = root["text_config"];
  const std::string where = file + ": text_config";
  const ConfigFamily& family = require_family(ConfigFields(text, where));
  resolve_tied_head(fields, text);
  fill_absent_fields(*wrapper, family, text);
  return read_model(text, where);
}

}  // namespace

bool has_text_config(std::string_view text, const std::string& file) {
  const json root = parse_object(text, file);
  const auto found = root.find("text_config");
  return found != root.end() && found->is_object();
}

ModelConfig parse_config_json(std::string_view text, const std::string& file) {
  const json root = parse_object(text, file);
  const auto text_config = root.find("text_config");
  const bool is_wrapper = text_config != root.end() && text_config->is_object();
  return is_wrapper ? read_text_part(root, file) : read_model(root, file);
}

}  // namespace penstock
