#include "app/config_file_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "data/byte_tokenizer.h"

namespace penstock {

namespace {

// Tokens of a step are counted in 32 bits, with a sign.
constexpr int64_t kMostStepTokens = std::numeric_limits<int32_t>::max();

// The checks of one pass. Each is skipped while one of its keys could not be read.
class Checks {
 public:
  Checks(RunConfig& config, GivenKeys& given, std::vector<ConfigProblem>& problems)
      : config_(config), given_(given), problems_(problems) {}

  void model();
  void dataset(DataNeed need);
  void batch();
  void frozen();
  void schedule();
  void memory();
  void device();

 private:
  void report(const std::string& full_name, std::string text) {
    problems_.push_back({given_.line(full_name), full_name + ": " + std::move(text)});
  }
  bool readable(std::initializer_list<const char*> full_names) const {
    return std::all_of(full_names.begin(), full_names.end(), [&](const char* name) { return given_.readable(name); });
  }
  // True if the first key's rival lost against the command line and is back at its default.
  bool command_line_decides(const std::string& a, const std::string& b) {
    if (given_.from_command_line(a) == given_.from_command_line(b)) return false;
    const std::string& loser = given_.from_command_line(a) ? b : a;
    config_key(loser).write(config_, KeyValue{});
    given_.remove(loser);
    return true;
  }
  void shape_or_folder(const std::vector<std::string>& shape_keys);
  void tokens_per_step(const std::string& full_name, int64_t micro_batches);
  // Of a shape from the configuration.
  bool reads_bytes() const {
    return config_.dataset.tokenizer == Tokenizer::kByte || config_.dataset.tokenizer == Tokenizer::kAuto;
  }

  RunConfig& config_;
  GivenKeys& given_;
  std::vector<ConfigProblem>& problems_;
};

void Checks::shape_or_folder(const std::vector<std::string>& shape_keys) {
  const std::string folder = "model.model_name_or_path";
  for (const std::string& name : shape_keys) {
    if (given_.from_command_line(folder) && !given_.from_command_line(name)) {
      config_key(name).write(config_, KeyValue{});
      given_.remove(name);
    } else {
      report(name, "excluded by " + folder + ", whose config.json holds the shape; leave one of them out");
    }
  }
}

void Checks::model() {
  std::vector<std::string> shape_keys;
  for (const ConfigKey& key : config_keys()) {
    const std::string name = key.full_name();
    const bool is_shape = key.name != "model_name_or_path" && key.name != "train_from_scratch";
    if (key.section == "model" && is_shape && given_.given(name)) shape_keys.push_back(name);
  }
  if (!config_.model.model_name_or_path.empty()) return shape_or_folder(shape_keys);
  if (config_.model.train_from_scratch && readable({"model.train_from_scratch"})) {
    report("model.train_from_scratch", "has no model.model_name_or_path to take a shape from; leave it out");
  }

  std::vector<std::string> missing;
  for (const char* name : {"model.hidden_size", "model.intermediate_size", "model.num_hidden_layers",
                           "model.num_attention_heads", "model.vocab_size"}) {
    const bool follows =
        name == std::string_view("model.vocab_size") && (reads_bytes() || !readable({"dataset.tokenizer"}));
    if (!given_.given(name) && !follows) missing.push_back(name);
  }
  if (!missing.empty()) {
    problems_.push_back({kWholeFile, fmt::format("the model's shape is incomplete, missing: {}; or give "
                                                 "model.model_name_or_path",
                                                 fmt::join(missing, ", "))});
  }
  const int64_t vocab_size = config_.model.shape.vocab_size;
  const bool checks_vocabulary =
      given_.given("model.vocab_size") && readable({"model.vocab_size", "dataset.tokenizer"});
  if (checks_vocabulary && reads_bytes() && vocab_size < kByteVocabularySize) {
    report("model.vocab_size",
           fmt::format("{} is too small for tokenizer: byte; give {} or more", vocab_size, kByteVocabularySize));
  }
  const int64_t positions = config_.model.shape.max_position_embeddings;
  if (given_.given("model.max_position_embeddings") && positions < config_.dataset.max_seq_len &&
      readable({"model.max_position_embeddings", "dataset.max_seq_len"})) {
    report("model.max_position_embeddings",
           fmt::format("{} is less than dataset.max_seq_len ({})", positions, config_.dataset.max_seq_len));
  }
}

void Checks::dataset(DataNeed need) {
  const DatasetSection& dataset = config_.dataset;
  if (need == DataNeed::kRequired && dataset.path.empty() && readable({"dataset.path"})) {
    report("dataset.path", "missing; give a path or a glob");
  }
  if (dataset.tokenizer == Tokenizer::kNone && dataset.format == DatasetFormat::kText &&
      readable({"dataset.tokenizer", "dataset.format"})) {
    report("dataset.tokenizer", "none needs JSONL rows with input_ids, but dataset.format is text");
  }
  if (dataset.tokenizer == Tokenizer::kModel && config_.model.model_name_or_path.empty() &&
      readable({"dataset.tokenizer", "model.model_name_or_path"})) {
    report("dataset.tokenizer", "model is the tokenizer of a folder; give model.model_name_or_path, or set byte");
  }
  if (!readable({"dataset.eval_path", "dataset.val_size"})) return;
  if (dataset.val_size > 1 && dataset.val_size != std::floor(dataset.val_size)) {
    report("dataset.val_size",
           fmt::format("{} is neither a share below 1 nor a whole number of documents", dataset.val_size));
  }
  if (!dataset.eval_path.empty() && dataset.val_size > 0 &&
      !command_line_decides("dataset.eval_path", "dataset.val_size")) {
    report("dataset.val_size", "excluded by dataset.eval_path; leave one of them out");
  }
  if (config_.training.eval_steps > 0 && dataset.eval_path.empty() && dataset.val_size == 0) {
    report("training.eval_steps", "there is nothing to evaluate on; give dataset.val_size or dataset.eval_path");
  }
}

// At most 2^20 x 2^16 x 2^16: inside 63 bits.
void Checks::tokens_per_step(const std::string& full_name, int64_t micro_batches) {
  const int64_t rows = config_.training.per_device_train_batch_size;
  const int64_t tokens = rows * config_.dataset.max_seq_len * micro_batches;
  if (tokens <= kMostStepTokens || !readable({"training.gradient_accumulation_steps"})) return;
  report(full_name,
         fmt::format("{} micro-batches x {} rows (per_device_train_batch_size) x {} tokens (max_seq_len) are "
                     "{} tokens per step, more than {}; make one of them smaller",
                     micro_batches, rows, config_.dataset.max_seq_len, tokens, kMostStepTokens));
}

void Checks::batch() {
  TrainingSection& training = config_.training;
  const std::string tokens = "training.tokens_per_step";
  const std::string accumulation = "training.gradient_accumulation_steps";
  if (given_.given(tokens) && given_.given(accumulation) && !command_line_decides(tokens, accumulation)) {
    report(tokens, "excluded by " + accumulation + "; leave one of them out");
  }
  if (!readable({"training.per_device_train_batch_size", "dataset.max_seq_len"})) return;
  const int64_t micro_batch = training.per_device_train_batch_size * config_.dataset.max_seq_len;
  if (!training.tokens_per_step) return tokens_per_step(accumulation, training.gradient_accumulation_steps);
  const int64_t below = *training.tokens_per_step / micro_batch * micro_batch;
  if (*training.tokens_per_step != below) {
    report(tokens, fmt::format("{} is not a multiple of the micro-batch's {} tokens (per_device_train_batch_size x "
                               "max_seq_len); nearest: {}{}",
                               *training.tokens_per_step, micro_batch, below > 0 ? fmt::format("{} or ", below) : "",
                               below + micro_batch));
  } else if (below / micro_batch > static_cast<int64_t>(config_key(accumulation).range.maximum)) {
    report(tokens, fmt::format("{} needs {} micro-batches per step, more than {:.0f}", *training.tokens_per_step,
                               below / micro_batch, config_key(accumulation).range.maximum));
  } else {
    tokens_per_step(tokens, below / micro_batch);
  }
}

void Checks::frozen() {
  const TrainingSection& training = config_.training;
  if (!readable({"training.finetuning_type", "training.freeze_trainable_layers", "training.trainable"})) return;
  const bool freezes = training.finetuning_type == FinetuningType::kFreeze;
  if (!freezes && training.freeze_trainable_layers) {
    report("training.freeze_trainable_layers", "only training.finetuning_type: freeze has frozen blocks; set it");
  }
  if (freezes && !training.trainable.empty()) {
    report("training.trainable", "excludes training.finetuning_type: freeze; leave one of them out");
  }
  if (freezes && training.freeze_trainable_layers == 0) {
    report("training.freeze_trainable_layers",
           "0 trains nothing; give the number of blocks, below 0 for the first ones");
  }
}

void Checks::schedule() {
  const TrainingSection& training = config_.training;
  if (training.min_learning_rate > training.learning_rate &&
      readable({"training.learning_rate", "training.min_learning_rate"})) {
    report("training.min_learning_rate",
           fmt::format("{} is above training.learning_rate ({})", training.min_learning_rate, training.learning_rate));
  }
  const bool wsd = training.lr_scheduler_type == LrSchedulerType::kWsd;
  if (training.decay_steps && !wsd && readable({"training.lr_scheduler_type"})) {
    report("training.decay_steps", "only lr_scheduler_type: wsd has decay steps");
  }
  const bool known = readable({"training.max_steps", "training.warmup_steps", "training.decay_steps"});
  if (training.max_steps && training.warmup_steps && known) {
    const int64_t warmup = *training.warmup_steps;
    const int64_t decay = wsd ? training.decay_steps.value_or(0) : 0;
    if (warmup > *training.max_steps) {
      report("training.warmup_steps",
             fmt::format("{} is more than training.max_steps ({})", warmup, *training.max_steps));
    } else if (warmup + decay > *training.max_steps) {
      report("training.decay_steps", fmt::format("{} and training.warmup_steps ({}) are more than training.max_steps "
                                                 "({})",
                                                 decay, warmup, *training.max_steps));
    }
  }
  if (config_.optimizer.update == UpdateMode::kEager && training.max_grad_norm > 0 &&
      readable({"optimizer.update", "training.max_grad_norm"})) {
    report("optimizer.update", fmt::format("eager cannot clip; set training.max_grad_norm: 0 (it is {}), or use "
                                           "deferred",
                                           training.max_grad_norm));
  }
}

void Checks::memory() {
  const MemorySection& memory = config_.memory;
  if (!readable({"memory.keep_layers", "memory.activations"})) return;
  if (memory.keep_layers > 0 && memory.activations == ActivationPolicy::kKeep) {
    report("memory.keep_layers", "only memory.activations: recompute has blocks that keep theirs all the same");
  }
  const int64_t blocks = config_.model.shape.num_hidden_layers;
  if (blocks > 0 && memory.keep_layers > blocks) {
    report("memory.keep_layers",
           fmt::format("{} is more than model.num_hidden_layers ({})", memory.keep_layers, blocks));
  }
}

// The emulated link and paced compute are the host device's; a card has its own.
void Checks::device() {
  const DeviceSection& device = config_.device;
  if (device.backend != BackendChoice::kCuda) return;
  for (const auto& [name, is_set] :
       {std::pair("device.h2d_gbps", device.h2d_gbps > 0), std::pair("device.d2h_gbps", device.d2h_gbps > 0),
        std::pair("device.latency_us", device.latency_us > 0),
        std::pair("device.compute", device.compute == ComputeMode::kPaced)}) {
    if (is_set && readable({name, "device.backend"})) {
      report(name, "emulates a device, and device.backend is cuda; remove it or use device.backend: host");
    }
  }
}

// What the field uses when it starts from trained weights.
void complete_fine_tuning(RunConfig& config, const GivenKeys& given) {
  if (!given.given("optimizer.beta2")) config.optimizer.beta2 = 0.999;
  if (!given.given("training.weight_decay")) config.training.weight_decay = 0.0;
}

}  // namespace

void check_run_config(RunConfig& config, GivenKeys& given, DataNeed need, std::vector<ConfigProblem>& problems) {
  Checks checks(config, given, problems);
  checks.model();
  checks.dataset(need);
  checks.batch();
  checks.frozen();
  checks.schedule();
  checks.memory();
  checks.device();
}

void complete_run_config(RunConfig& config, const GivenKeys& given) {
  TrainingSection& training = config.training;
  if (training.tokens_per_step) {
    training.gradient_accumulation_steps =
        *training.tokens_per_step / (training.per_device_train_batch_size * config.dataset.max_seq_len);
    training.tokens_per_step.reset();
  }
  if (!training.max_steps && !training.num_train_epochs && !training.max_tokens) training.num_train_epochs = 1;

  if (!config.model.model_name_or_path.empty()) {
    if (!config.model.train_from_scratch) complete_fine_tuning(config, given);
    return;
  }
  ModelConfig& shape = config.model.shape;
  if (shape.vocab_size == 0) shape.vocab_size = kByteVocabularySize;
  if (shape.num_key_value_heads == 0) shape.num_key_value_heads = shape.num_attention_heads;
  // Where it does not divide, head_dim stays open and validate() of the model names the fault.
  if (shape.head_dim == 0 && shape.hidden_size % shape.num_attention_heads == 0) {
    shape.head_dim = shape.hidden_size / shape.num_attention_heads;
  }
  if (!given.given("model.max_position_embeddings")) {
    shape.max_position_embeddings = std::max(shape.max_position_embeddings, config.dataset.max_seq_len);
  }
}

}  // namespace penstock
