#include "app/run_setup.h"

#include <fmt/format.h>
#include <sched.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>

#include "app/config_file.h"
#include "app/console.h"
#include "app/load_progress.h"
#include "app/model_setup.h"
#include "app/predicted_step.h"
#include "app/run_directory.h"
#include "core/bytes.h"
#include "core/core_plan.h"
#include "core/error.h"
#include "core/system_limits.h"
#include "core/topology.h"
#include "model/hf_folder.h"
#include "model/host_maths.h"
#include "streaming/checkpoint.h"
#include "streaming/model_weights.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

constexpr double kGigabyte = 1e9;
// Blocks times micro-batches: a step has about three ops and three buffers for each, some hundred bytes apiece.
constexpr int64_t kMostBlockVisits = int64_t{1} << 18;
// Elements of one activation of a micro-batch. More fits no machine; below it no size in bytes leaves 64 bits.
constexpr __int128 kMostActivationElements = __int128{1} << 52;

// CPUs this process may run on, hyper-threads included: which of them share a core is not looked up.
int usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

DType compute_dtype(const RunConfig& config, Backend backend) {
  switch (config.device.compute_dtype) {
    case ComputeType::kFloat32:
      return DType::kFloat32;
    case ComputeType::kBFloat16:
      return DType::kBFloat16;
    case ComputeType::kAuto:
      break;
  }
  const bool is_fast = backend == Backend::kCuda || cpu_has_fast_bf16();
  const bool narrow = wire_dtype(config.optimizer.state_format) == DType::kBFloat16 && is_fast;
  return narrow ? DType::kBFloat16 : DType::kFloat32;
}

// A path as an override's value: neither a list in brackets nor a word that means "unset".
std::string path_value(const std::string& path) {
  const bool plain = !path.empty() && (path[0] == '/' || path[0] == '.');
  return plain || (path[0] != '[' && path[0] != '~' && path != "null") ? path : "./" + path;
}

RunConfig load_any_config(const std::string& argument, const std::vector<std::string>& overrides, DataNeed need) {
  const auto warn = [](const std::string& text) { spdlog::warn(text); };
  const fs::path path(argument);
  std::error_code error;
  if (!fs::is_directory(path, error)) return load_run_config(path, overrides, warn, need);
  std::vector<std::string> all;
  const auto add_overrides = [&] { all.insert(all.end(), overrides.begin(), overrides.end()); };
  if (fs::exists(path / "config.yaml", error)) {
    all = {"training.output_dir=" + path_value(argument), "training.resume_from_checkpoint=auto"};
    add_overrides();
    return load_run_config(path / "config.yaml", all, warn, need);
  }
  if (fs::exists(path / "config.json", error)) {
    all = {"model.model_name_or_path=" + path_value(argument)};
    add_overrides();
    return parse_run_config("", argument, all, warn, need);
  }
  throw Error(ExitCode::kBadInput, argument +
                                       ": neither a run directory (config.yaml) nor a model folder "
                                       "(config.json); give a configuration file or one of these");
}

// Keeps every later product inside 64 bits and every list of ops in memory. The configuration bounds tokens per step.
void require_countable(const RunConfig& config, const ModelConfig& model) {
  const TrainingSection& training = config.training;
  const int64_t visits = (model.num_hidden_layers + 2) * training.gradient_accumulation_steps;
  if (visits > kMostBlockVisits) {
    throw Error(
        ExitCode::kBadInput,
        fmt::format("training.gradient_accumulation_steps: {} micro-batches through {} layers are {} visits a "
                    "step, more than {}; use fewer micro-batches and a larger per_device_train_batch_size",
                    training.gradient_accumulation_steps, model.num_hidden_layers + 2, visits, kMostBlockVisits));
  }
  const int64_t tokens = training.per_device_train_batch_size * config.dataset.max_seq_len;
  const int64_t packed = (model.num_attention_heads + 2 * model.num_key_value_heads) * model.head_dim;
  const int64_t widest = std::max({model.hidden_size, 2 * model.intermediate_size, packed});
  if (static_cast<__int128>(tokens) * widest > kMostActivationElements) {
    throw Error(ExitCode::kDoesNotFit,
                fmt::format("a micro-batch of {} tokens, {} wide, fits no machine; use a smaller "
                            "training.per_device_train_batch_size, dataset.max_seq_len or model",
                            tokens, widest));
  }
}

// The configuration refuses what max_steps already contradicts; here the steps follow from epochs or tokens.
void warn_about_schedule(const LearningRateSettings& rate) {
  const int64_t decay = rate.type == LrSchedulerType::kWsd ? rate.decay_steps : 0;
  if (rate.warmup_steps + decay <= rate.total_steps) return;
  spdlog::warn(
      "the run has {} steps, but warm-up takes {}{}: the learning rate does not run its course; set "
      "training.warmup_steps lower",
      rate.total_steps, rate.warmup_steps, decay > 0 ? fmt::format(" and the final fall {}", decay) : "");
}

// Blocks at the rates the configuration gives: 2 flops a parameter and token forward, twice that backward.
CostModel paced_costs(const RunSetup& setup) {
  const double rate = setup.config.device.paced_tflops * 1e12;
  const ForwardFlops flops = forward_flops(setup);
  return {.h2d_bytes_per_second = setup.config.device.h2d_gbps * kGigabyte,
          .d2h_bytes_per_second = setup.config.device.d2h_gbps * kGigabyte,
          .copy_latency_seconds = setup.config.device.latency_us * 1e-6,
          .forward_seconds = flops.block / rate,
          .backward_seconds = 2 * flops.block / rate,
          .recompute_seconds = flops.block / rate,
          .loss_seconds = 3 * flops.head / rate,
          .head_parts = setup.head_parts};
}

std::optional<int> as_int(const std::optional<int64_t>& value) {
  return value ? std::optional(static_cast<int>(*value)) : std::nullopt;
}

// By the rule of core/core_plan.h.
void choose_cores(RunSetup& setup) {
  const RunConfig& config = setup.config;
  const StateFormat format = config.optimizer.state_format;
  const uint64_t elements = align_up(static_cast<uint64_t>(parameter_count(setup.model)), kScaleBlockElements);
  const uint64_t wire_bytes = elements * dtype_bytes(wire_dtype(format));
  CoreRequest request{.computes_on_host = setup.device.backend == Backend::kHost,
                      .threads = as_int(config.optimizer.threads),
                      .numa = as_int(config.memory.numa),
                      .memory_bytes = 2 * wire_bytes + state_bytes(format, elements)};
  setup.profile = load_machine_profile(setup.device);
  if (setup.profile) request.knee = setup.profile->stream.knee;
  if (setup.device.card) request.device_node = read_device_node(setup.device.card->properties.pci_address);
  CorePlan plan = plan_cores(read_topology(), request);
  setup.optimizer_threads = plan.optimizer_threads;
  setup.optimizer_cpus = std::move(plan.cpus);
  setup.memory_node = plan.memory_node;
}

// The fewest parts with which the training step fits the device; one where none does, so that the refusal speaks of the
// plain step.
void choose_head_parts(RunSetup& setup) {
  constexpr int kMostHeadParts = 256;
  const auto wanted = setup.config.memory.head_parts;
  setup.head_parts = static_cast<int>(std::min(wanted.value_or(1), setup.model.vocab_size));
  const uint64_t budget = stable_device_budget(setup.config.device, setup.device);
  if (wanted || budget == UINT64_MAX) return;
  for (int parts = 1; parts <= std::min<int64_t>(kMostHeadParts, setup.model.vocab_size); parts *= 2) {
    setup.head_parts = parts;
    const RunPlan plan = plan_run(training_shape(setup), step_settings(setup, Purpose::kTrain));
    if (memory_plan(plan, 0).device_bytes() > budget) continue;
    if (parts > 1) {
      spdlog::info(
          "the head streams in {} parts of its vocabulary: whole it does not fit the device (losses differ from the "
          "whole head's in rounding only)",
          parts);
    }
    return;
  }
  setup.head_parts = 1;
}

}  // namespace

RunConfig load_verb_config(const std::string& argument, const std::vector<std::string>& overrides, DataNeed need) {
  RunConfig config = load_any_config(argument, overrides, need);
  start_console(config.logging.level);
  return config;
}

RunSetup set_up_run(const RunConfig& config, CudaLook look) {
  RunSetup setup{.config = config};
  set_up_model(setup);
  require_countable(config, setup.model);
  setup.device = choose_device(config.device, look);
  setup.compute = compute_dtype(config, setup.device.backend);
  setup.compute_threads = static_cast<int>(config.device.compute_threads.value_or(usable_cpus()));
  choose_cores(setup);
  choose_head_parts(setup);
  return setup;
}

RunShape training_shape(const RunSetup& setup) {
  const StateFormat format = setup.config.optimizer.state_format;
  return {.model = setup.model,
          .backend = setup.device.backend,
          .format = format,
          .compute = setup.compute,
          .gradient = gradient_dtype(format),
          .rows = setup.config.training.per_device_train_batch_size,
          .length = setup.config.dataset.max_seq_len,
          .kv_capacity = 0,
          .compute_threads = setup.compute_threads,
          .trainable = setup.trainable,
          .head_parts = setup.head_parts,
          .deterministic = setup.config.device.deterministic};
}

StepSettings step_settings(const RunSetup& setup, Purpose purpose) {
  const MemorySection& memory = setup.config.memory;
  StepSettings settings{.purpose = purpose,
                        .prefetch_depth = static_cast<int>(memory.prefetch_depth),
                        .gradient_slots = static_cast<int>(memory.gradient_slots),
                        .update = setup.config.optimizer.update};
  if (purpose == Purpose::kGenerate) return settings;
  settings.micro_batches = static_cast<int>(setup.config.training.gradient_accumulation_steps);
  if (purpose == Purpose::kEval) return settings;
  for (int64_t block = 0; block < setup.model.num_hidden_layers; ++block) {
    settings.activations.push_back(block < memory.keep_layers ? ActivationPolicy::kKeep : memory.activations);
  }
  return settings;
}

DatasetOptions dataset_options(const RunSetup& setup) {
  const RunConfig& config = setup.config;
  const std::vector<int32_t> eos(setup.model.eos_token_ids.begin(), setup.model.eos_token_ids.end());
  return {.paths = config.dataset.path,
          .format = config.dataset.format,
          .tokenizer = config.dataset.tokenizer,
          .start_encoder = [folder = setup.model_folder, eos] { return start_model_encoder(folder, eos); },
          .max_seq_len = config.dataset.max_seq_len,
          .packing = config.dataset.packing,
          .val_size = config.dataset.val_size,
          .eval_paths = config.dataset.eval_path,
          .seed = static_cast<uint64_t>(config.training.seed),
          .vocab_size = setup.model.vocab_size,
          .rows = config.training.per_device_train_batch_size,
          .micro_batches = config.training.gradient_accumulation_steps};
}

LearningRateSettings learning_rate_settings(const RunSetup& setup, int64_t total_steps) {
  const TrainingSection& training = setup.config.training;
  const auto warmup = static_cast<int64_t>(std::lround(training.warmup_ratio * static_cast<double>(total_steps)));
  return {.type = training.lr_scheduler_type,
          .peak = training.learning_rate,
          .minimum = training.min_learning_rate,
          .warmup_steps = training.warmup_steps.value_or(warmup),
          .total_steps = total_steps,
          .decay_steps = training.decay_steps.value_or(total_steps / 10)};
}

TrainerSettings trainer_settings(const RunSetup& setup, int64_t total_steps) {
  const OptimizerSection& optimizer = setup.config.optimizer;
  const LearningRateSettings rate = learning_rate_settings(setup, total_steps);
  warn_about_schedule(rate);
  return {.learning_rate = rate,
          .beta1 = optimizer.beta1,
          .beta2 = optimizer.beta2,
          .eps = optimizer.eps,
          .weight_decay = setup.config.training.weight_decay,
          .max_grad_norm = setup.config.training.max_grad_norm,
          .seed = static_cast<uint64_t>(setup.config.training.seed)};
}

EngineOptions engine_options(const RunSetup& setup) {
  EngineOptions options{.optimizer_threads = setup.optimizer_threads,
                        .optimizer_cpus = setup.optimizer_cpus,
                        .notice = [](const std::string& text) { spdlog::warn(text); }};
  if (setup.config.device.compute == ComputeMode::kPaced) options.pace = paced_costs(setup);
  return options;
}

void refuse_paced(const RunSetup& setup, const char* verb) {
  if (setup.config.device.compute != ComputeMode::kPaced) return;
  throw Error(ExitCode::kBadInput, fmt::format("{}: device.compute paced computes nothing; set device.compute=real, or "
                                               "use train to study overlap",
                                               verb));
}

fs::path resume_checkpoint(const RunConfig& config) {
  const std::string& wanted = config.training.resume_from_checkpoint;
  if (wanted.empty()) return {};
  const bool newest = wanted == "auto";
  if (newest && config.training.output_dir.empty()) {
    throw Error(ExitCode::kBadInput,
                "training.resume_from_checkpoint=auto needs training.output_dir; or give the run "
                "directory instead of the configuration");
  }
  const fs::path place = newest ? fs::path(config.training.output_dir) : fs::path(wanted);
  if (!newest && fs::exists(place / "manifest.json")) return place;
  const auto checkpoints = list_checkpoints(place);
  if (!checkpoints.empty()) return checkpoints.back();
  if (newest) return {};
  throw Error(ExitCode::kBadInput, fmt::format("training.resume_from_checkpoint: no checkpoint in '{}'; give a run "
                                               "directory or a checkpoint folder",
                                               place.string()));
}

void load_trained_weights(const RunSetup& setup, ModelMemory& memory) {
  const TrainingSection& training = setup.config.training;
  if (const fs::path checkpoint = resume_checkpoint(setup.config); !checkpoint.empty()) {
    load_checkpoint(checkpoint, memory);
  } else if (!training.resume_from_checkpoint.empty()) {
    // A run that saves nothing on its way leaves its final model all the same.
    const fs::path final_model = fs::path(training.output_dir) / "model";
    if (!fs::exists(final_model / "config.json")) {
      throw Error(ExitCode::kBadInput, fmt::format("{}: no trained weights: neither a checkpoint-<step> folder nor "
                                                   "model/; train first, or give another training.output_dir",
                                                   training.output_dir));
    }
    load_weights(memory, final_model.string(), shown_on(error_console()));
  } else if (!starts_from_scratch(setup)) {
    load_weights(memory, setup.model_folder, shown_on(error_console()));
  } else {
    throw Error(ExitCode::kBadInput,
                "no trained weights: give a run directory instead of the configuration, "
                "training.resume_from_checkpoint=CHECKPOINT, or model.model_name_or_path=FOLDER");
  }
}

}  // namespace penstock
