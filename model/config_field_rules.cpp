#include "model/config_field_rules.h"

#include <algorithm>
#include <iterator>
#include <string>

#include "fmt/format.h"

namespace penstock {
namespace {

using nlohmann::json;

// Fields that would change the maths: only the value that changes nothing is accepted.
struct FixedField {
  const char* name;
  const char* accepted;  // JSON; null and absence are accepted too
  const char* remedy = "use a model that has it";
};

constexpr FixedField kFixedFields[] = {
    {"add_cross_attention", "false", "use a decoder-only model"},
    {"attention_dropout", "0.0", "set it to 0.0"},
    {"auto_map", "null", "use a model whose code is part of transformers"},
    {"chunk_size_feed_forward", "0", "set it to 0"},
    {"is_encoder_decoder", "false", "use a decoder-only model"},
    {"original_max_position_embeddings", "null", "move it into rope_scaling"},
    {"partial_rotary_factor", "1.0", "use a model that rotates whole heads"},
    {"per_layer_config", "null"},
    {"pruned_heads", "{}", "use a model with all its heads"},
    {"quantization_config", "null", "use the unquantised weights"},
    {"rope_interleaved", "false"},
    {"use_mrope", "false"},
};

// Of those, the ones that speak for a whole multimodal folder.
constexpr const char* kWrapperFixedFields[] = {"auto_map", "is_encoder_decoder", "quantization_config"};

// Fields that every family reads.
constexpr const char* kReadFields[] = {
    "bos_token_id",        "eos_token_id",        "head_dim",
    "hidden_act",          "hidden_size",         "initializer_range",
    "intermediate_size",   "layer_types",         "max_position_embeddings",
    "model_type",          "num_attention_heads", "num_hidden_layers",
    "num_key_value_heads", "pad_token_id",        "rms_norm_eps",
    "rope_parameters",     "rope_scaling",        "rope_theta",
    "tie_word_embeddings", "vocab_size",
};

// Fields that leave a training step and its weights as they are: names, storage, generation defaults, outputs.
// pretraining_tp only splits a product in versions that read it; attention_bias is no choice in qwen2.
constexpr const char* kHarmlessFields[] = {
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_experts_implementation",
    "_name_or_path",
    "architectures",
    "assistant_confidence_threshold",
    "assistant_lookbehind",
    "attn_implementation",
    "bad_words_ids",
    "begin_suppress_tokens",
    "cls_token_id",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "encoder_repetition_penalty",
    "epsilon_cutoff",
    "eta_cutoff",
    "experts_implementation",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "id2label",
    "is_decoder",
    "is_llama_config",
    "label2id",
    "length_penalty",
    "mask_token_id",
    "max_length",
    "max_sequence_length",
    "max_window_layers",
    "min_length",
    "name_or_path",
    "no_repeat_ngram_size",
    "num_assistant_tokens",
    "num_assistant_tokens_schedule",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "target_lookbehind",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tie_last_hidden_states",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
};

template <size_t kCount>
bool contains(const char* const (&names)[kCount], const std::string& name) {
  return std::any_of(std::begin(names), std::end(names), [&](const char* candidate) { return name == candidate; });
}

// Numbers compare by value, so that 0 and 0.0 are the same.
void check_fixed(const ConfigFields& fields, const FixedField& field) {
  const json* value = fields.find(field.name);
  if (value == nullptr || *value == json::parse(field.accepted)) return;
  fields.refuse(field.name, fmt::format("Penstock supports only {} here: {}", field.accepted, field.remedy));
}

// A field that only some families read: read there, fixed in the others.
bool check_family_field(const ConfigFields& fields, const ConfigFamily& family, const std::string& name) {
  const bool windows_by_switch =
      family.window_rule == WindowRule::kUpperBlocks || family.window_rule == WindowRule::kUnrotated;
  struct Rule {
    const char* name;
    bool is_read;
    const char* accepted;
  };
  const Rule rules[] = {
      {"attention_bias", family.attention_bias != AttentionBias::kNone, "false"},
      {"mlp_bias", family.reads_mlp_bias, "false"},
      {"sliding_window", family.window_rule != WindowRule::kNone, "null"},
      {"use_sliding_window", windows_by_switch, "false"},
      {"no_rope_layers", family.reads_unrotated_blocks, "null"},
      {"no_rope_layer_interval", family.reads_unrotated_blocks, "null"},
  };
  for (const Rule& rule : rules) {
    if (name != rule.name) continue;
    if (!rule.is_read) check_fixed(fields, {rule.name, rule.accepted});
    return true;
  }
  return false;
}

}  // namespace

void check_known_fields(const ConfigFields& fields, const ConfigFamily& family) {
  for (const FixedField& field : kFixedFields) check_fixed(fields, field);
  for (const auto& [name, value] : fields.object().items()) {
    const auto is_name = [&name = name](const FixedField& field) { return name == field.name; };
    if (std::any_of(std::begin(kFixedFields), std::end(kFixedFields), is_name)) continue;
    if (contains(kReadFields, name) || contains(kHarmlessFields, name)) continue;
    if (check_family_field(fields, family, name)) continue;
    fields.refuse(name,
                  "Penstock does not know this field and will not guess whether it changes the maths; "
                  "remove it if it does not");
  }
}

void check_wrapper_fields(const ConfigFields& fields) {
  for (const FixedField& field : kFixedFields) {
    if (contains(kWrapperFixedFields, field.name)) check_fixed(fields, field);
  }
}

}  // namespace penstock
