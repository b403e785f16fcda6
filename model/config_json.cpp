#include "model/config_json.h"

#include <limits>
#include <optional>
#include <span>

#include "core/error.h"
#include "fmt/format.h"
#include "model/strict_json.h"
#include "nlohmann/json.hpp"

namespace penstock {
namespace {

using nlohmann::json;

// Fields that would change the maths: only the value that changes nothing is accepted.
struct FixedField {
  const char* name;
  const char* accepted;  // JSON; null and absence are accepted too
};

constexpr FixedField kFixedFields[] = {
    {"add_cross_attention", "false"}, {"attention_bias", "false"},
    {"attention_dropout", "0.0"},     {"auto_map", "null"},
    {"chunk_size_feed_forward", "0"}, {"hidden_act", "\"silu\""},
    {"is_encoder_decoder", "false"},  {"mlp_bias", "false"},
    {"partial_rotary_factor", "1.0"}, {"pretraining_tp", "1"},
    {"pruned_heads", "{}"},           {"quantization_config", "null"},
    {"rope_interleaved", "false"},    {"sliding_window", "null"},
    {"tie_word_embeddings", "false"}, {"use_sliding_window", "false"},
};

// Fields that we read.
constexpr const char* kReadFields[] = {
    "bos_token_id",
    "eos_token_id",
    "head_dim",
    "hidden_size",
    "initializer_range",
    "intermediate_size",
    "max_position_embeddings",
    "model_type",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "pad_token_id",
    "rms_norm_eps",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "vocab_size",
};

// Fields that leave a training step and its weights as they are: names, storage, generation defaults, outputs.
constexpr const char* kHarmlessFields[] = {
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "architectures",
    "bad_words_ids",
    "begin_suppress_tokens",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "id2label",
    "is_decoder",
    "is_llama_config",
    "label2id",
    "length_penalty",
    "max_length",
    "max_sequence_length",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "prefix",
    "problem_type",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "typical_p",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
};

bool contains(std::span<const char* const> names, const std::string& name) {
  for (const char* candidate : names) {
    if (name == candidate) return true;
  }
  return false;
}

const FixedField* find_fixed(const std::string& name) {
  for (const FixedField& field : kFixedFields) {
    if (name == field.name) return &field;
  }
  return nullptr;
}

// Typed access to the fields of one object, with errors that name file and field.
class FieldReader {
 public:
  FieldReader(const json& object, std::string file) : object_(object), file_(std::move(file)) {}

  [[noreturn]] void refuse(const std::string& field, const std::string& remedy) const {
    const auto found = object_.find(field);
    const std::string value = found == object_.end() ? "missing" : json_excerpt(*found);
    throw Error(ExitCode::kBadInput, fmt::format("{}: {} is {}; {}", file_, field, value, remedy));
  }

  // Null counts as absent: transformers writes it for unset fields.
  const json* find(const char* field) const {
    const auto found = object_.find(field);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  std::optional<int64_t> integer(const char* field) const {
    const json* value = find(field);
    if (value == nullptr) return std::nullopt;
    if (!is_int64(*value)) refuse(field, "it must be an integer");
    return value->get<int64_t>();
  }

  int64_t required_integer(const char* field) const {
    const std::optional<int64_t> value = integer(field);
    if (!value) refuse(field, "the shape of the model needs it");
    return *value;
  }

  std::optional<double> number(const char* field) const {
    const json* value = find(field);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number()) refuse(field, "it must be a number");
    return value->get<double>();
  }

  static bool is_int64(const json& value) {
    if (value.is_number_unsigned()) {
      return value.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    }
    return value.is_number_integer();
  }

  const json& object() const { return object_; }

 private:
  const json& object_;
  std::string file_;
};

void check_fixed_field(const FieldReader& fields, const FixedField& fixed) {
  const json* value = fields.find(fixed.name);
  if (value == nullptr) return;
  // Numbers compare by value, so that 0 and 0.0 are the same.
  if (*value != json::parse(fixed.accepted)) {
    fields.refuse(fixed.name,
                  fmt::format("Penstock supports only {} for llama today: use a model that has it", fixed.accepted));
  }
}

void check_every_field(const FieldReader& fields) {
  for (const auto& [name, value] : fields.object().items()) {
    if (const FixedField* fixed = find_fixed(name)) {
      check_fixed_field(fields, *fixed);
    } else if (!contains(kReadFields, name) && !contains(kHarmlessFields, name)) {
      fields.refuse(name,
                    "Penstock does not know this field and will not guess whether it changes the maths; "
                    "remove it if it does not");
    }
  }
}

// rope_scaling (version 4) and rope_parameters (version 5): only plain rotary embeddings. Returns rope_theta if given.
std::optional<double> read_rope_object(const FieldReader& fields, const char* field, const std::string& file) {
  const json* object = fields.find(field);
  if (object == nullptr) return std::nullopt;
  if (!object->is_object()) fields.refuse(field, "it must be an object");
  const FieldReader rope(*object, fmt::format("{}: {}", file, field));
  for (const char* field_of_type : {"rope_type", "type"}) {  // first: it says more than the factors beside it
    const json* type = rope.find(field_of_type);
    if (type != nullptr && *type != "default") {
      rope.refuse(field_of_type, "Penstock supports only \"default\" today: use a model without scaled positions");
    }
  }
  for (const auto& [name, value] : object->items()) {
    if (name == "partial_rotary_factor") {
      check_fixed_field(rope, *find_fixed(name));
    } else if (name != "rope_type" && name != "type" && name != "rope_theta") {
      rope.refuse(name, "Penstock supports only plain rotary positions: use a model without it");
    }
  }
  return rope.number("rope_theta");
}

double read_rope_theta(const FieldReader& fields, const std::string& file) {
  std::optional<double> theta = fields.number("rope_theta");
  for (const char* field : {"rope_scaling", "rope_parameters"}) {
    const std::optional<double> inner = read_rope_object(fields, field, file);
    if (theta && inner && *theta != *inner) {
      fields.refuse("rope_theta", fmt::format("{}.rope_theta is {}: make them agree", field, *inner));
    }
    if (inner) theta = inner;
  }
  return theta.value_or(ModelConfig{}.rope_theta);
}

// Absent means transformers' default for llama, null means none.
int64_t read_token_id(const FieldReader& fields, const char* field, int64_t absent) {
  if (!fields.object().contains(field)) return absent;
  return fields.integer(field).value_or(-1);
}

std::vector<int64_t> read_eos_token_ids(const FieldReader& fields) {
  if (!fields.object().contains("eos_token_id")) return {2};
  const json* value = fields.find("eos_token_id");
  if (value == nullptr) return {};
  if (!value->is_array()) return {*fields.integer("eos_token_id")};
  std::vector<int64_t> ids;
  for (const json& id : *value) {
    if (!FieldReader::is_int64(id)) fields.refuse("eos_token_id", "it must be an integer or a list of integers");
    ids.push_back(id.get<int64_t>());
  }
  return ids;
}

ModelConfig read_fields(const FieldReader& fields, const std::string& file) {
  ModelConfig config;
  config.vocab_size = fields.required_integer("vocab_size");
  config.hidden_size = fields.required_integer("hidden_size");
  config.intermediate_size = fields.required_integer("intermediate_size");
  config.num_hidden_layers = fields.required_integer("num_hidden_layers");
  config.num_attention_heads = fields.required_integer("num_attention_heads");
  config.num_key_value_heads = fields.integer("num_key_value_heads").value_or(config.num_attention_heads);
  const int64_t heads = config.num_attention_heads;
  config.head_dim = fields.integer("head_dim").value_or(heads > 0 ? config.hidden_size / heads : 0);
  config.max_position_embeddings = fields.integer("max_position_embeddings").value_or(config.max_position_embeddings);
  config.rms_norm_eps = fields.number("rms_norm_eps").value_or(config.rms_norm_eps);
  config.initializer_range = fields.number("initializer_range").value_or(config.initializer_range);
  config.rope_theta = read_rope_theta(fields, file);
  config.bos_token_id = read_token_id(fields, "bos_token_id", 1);
  config.eos_token_ids = read_eos_token_ids(fields);
  config.pad_token_id = read_token_id(fields, "pad_token_id", -1);
  return config;
}

// Special tokens as transformers writes them: null for none, a list only where there are several.
json token_ids_json(const std::vector<int64_t>& ids) {
  if (ids.empty()) return nullptr;
  if (ids.size() == 1) return ids.front();
  return ids;
}

json token_id_json(int64_t id) { return id < 0 ? json(nullptr) : json(id); }

}  // namespace

ModelConfig parse_config_json(std::string_view text, const std::string& file) {
  const json root = parse_strict_json(text, file);
  if (!root.is_object()) throw Error(ExitCode::kBadInput, fmt::format("{}: must hold one JSON object", file));
  const FieldReader fields(root, file);
  const json* model_type = fields.find("model_type");
  if (model_type == nullptr || *model_type != "llama") {
    fields.refuse("model_type", "Penstock trains \"llama\" today: use a model of that type");
  }
  check_every_field(fields);
  ModelConfig config = read_fields(fields, file);
  try {
    validate(config);
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("{}: {}", file, error.what()));
  }
  return config;
}

std::string config_json_text(const ModelConfig& config, DType dtype) {
  // Version 4 reads rope_theta and torch_dtype, version 5 rope_parameters and dtype; each ignores the other's.
  const json root = {
      {"architectures", {"LlamaForCausalLM"}},
      {"attention_bias", false},
      {"attention_dropout", 0.0},
      {"bos_token_id", token_id_json(config.bos_token_id)},
      {"dtype", dtype_name(dtype)},
      {"eos_token_id", token_ids_json(config.eos_token_ids)},
      {"head_dim", config.head_dim},
      {"hidden_act", "silu"},
      {"hidden_size", config.hidden_size},
      {"initializer_range", config.initializer_range},
      {"intermediate_size", config.intermediate_size},
      {"max_position_embeddings", config.max_position_embeddings},
      {"mlp_bias", false},
      {"model_type", config.model_type},
      {"num_attention_heads", config.num_attention_heads},
      {"num_hidden_layers", config.num_hidden_layers},
      {"num_key_value_heads", config.num_key_value_heads},
      {"pad_token_id", token_id_json(config.pad_token_id)},
      {"pretraining_tp", 1},
      {"rms_norm_eps", config.rms_norm_eps},
      {"rope_parameters", {{"rope_theta", config.rope_theta}, {"rope_type", "default"}}},
      {"rope_theta", config.rope_theta},
      {"tie_word_embeddings", false},
      {"torch_dtype", dtype_name(dtype)},
      {"use_cache", true},
      {"vocab_size", config.vocab_size},
  };
  return root.dump(2) + '\n';
}

std::string generation_config_json_text(const ModelConfig& config) {
  json root = {{"_from_model_config", true}};
  if (config.bos_token_id >= 0) root["bos_token_id"] = config.bos_token_id;
  if (!config.eos_token_ids.empty()) root["eos_token_id"] = token_ids_json(config.eos_token_ids);
  if (config.pad_token_id >= 0) root["pad_token_id"] = config.pad_token_id;
  return root.dump(2) + '\n';
}

}  // namespace penstock
