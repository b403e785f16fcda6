#include "app/config_aliases.h"

#include <string>

namespace penstock {

namespace {

constexpr ConfigAlias kAliases[] = {
    {"base_model", "model.model_name_or_path"},
    {"model_name", "model.model_name_or_path"},
    {"model_path", "model.model_name_or_path"},
    {"model.name", "model.model_name_or_path"},
    {"model.path", "model.model_name_or_path"},
    {"dim", "model.hidden_size"},
    {"d_model", "model.hidden_size"},
    {"n_embd", "model.hidden_size"},
    {"d_ff", "model.intermediate_size"},
    {"ffn_hidden_size", "model.intermediate_size"},
    {"n_layer", "model.num_hidden_layers"},
    {"n_layers", "model.num_hidden_layers"},
    {"num_layers", "model.num_hidden_layers"},
    {"n_head", "model.num_attention_heads"},
    {"n_heads", "model.num_attention_heads"},
    {"num_heads", "model.num_attention_heads"},
    {"n_kv_heads", "model.num_key_value_heads"},
    {"num_kv_heads", "model.num_key_value_heads"},
    {"norm_eps", "model.rms_norm_eps"},
    {"dataset.file", "dataset.path"},
    {"data_path", "dataset.path"},
    {"dataset_path", "dataset.path"},
    {"train_file", "dataset.path"},
    {"eval_file", "dataset.eval_path"},
    {"validation_file", "dataset.eval_path"},
    {"block_size", "dataset.max_seq_len"},
    {"cutoff_len", "dataset.max_seq_len"},
    {"max_length", "dataset.max_seq_len"},
    {"max_seq_length", "dataset.max_seq_len"},
    {"seq_len", "dataset.max_seq_len"},
    {"sequence_len", "dataset.max_seq_len"},
    {"sequence_length", "dataset.max_seq_len"},
    {"sample_packing", "dataset.packing"},
    {"val_set_size", "dataset.val_size"},
    {"batch_size", "training.per_device_train_batch_size"},
    {"micro_batch_size", "training.per_device_train_batch_size"},
    {"accumulation_steps", "training.gradient_accumulation_steps"},
    {"grad_accum", "training.gradient_accumulation_steps"},
    {"gradient_accumulation", "training.gradient_accumulation_steps"},
    {"max_iters", "training.max_steps"},
    {"num_steps", "training.max_steps"},
    {"total_steps", "training.max_steps"},
    {"train_steps", "training.max_steps"},
    {"epochs", "training.num_train_epochs"},
    {"num_epochs", "training.num_train_epochs"},
    {"lr", "training.learning_rate"},
    {"min_lr", "training.min_learning_rate"},
    {"lr_scheduler", "training.lr_scheduler_type"},
    {"scheduler", "training.lr_scheduler_type"},
    {"num_warmup_steps", "training.warmup_steps"},
    {"warmup_iters", "training.warmup_steps"},
    {"wd", "training.weight_decay"},
    {"clip_grad", "training.max_grad_norm"},
    {"grad_clip", "training.max_grad_norm"},
    {"gradient_clipping", "training.max_grad_norm"},
    {"random_seed", "training.seed"},
    {"save_interval", "training.save_steps"},
    {"eval_interval", "training.eval_steps"},
    {"resume_from", "training.resume_from_checkpoint"},
    {"adam_beta1", "optimizer.beta1"},
    {"adam_beta2", "optimizer.beta2"},
    {"adam_epsilon", "optimizer.eps"},
    {"epsilon", "optimizer.eps"},
    {"num_grad_slabs", "memory.gradient_slots"},
    {"log_interval", "logging.logging_steps"},
    {"log_steps", "logging.logging_steps"},
    {"log_level", "logging.level"},
};

}  // namespace

std::span<const ConfigAlias> config_aliases() { return kAliases; }

std::string_view resolve_alias(std::string_view section, std::string_view name) {
  const std::string dotted = std::string(section) + "." + std::string(name);
  for (const ConfigAlias& alias : config_aliases()) {
    if (alias.name == name || alias.name == dotted) return alias.full_name;
  }
  return {};
}

}  // namespace penstock
