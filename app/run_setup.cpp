#include "app/run_setup.h"

#include <fmt/format.h>
#include <sched.h>
#include <spdlog/spdlog.h>

#include <cmath>

#include "app/config_file.h"
#include "app/console.h"
#include "app/run_directory.h"
#include "core/error.h"
#include "core/system_memory.h"
#include "data/byte_tokenizer.h"
#include "data/utf8.h"
#include "model/hf_folder.h"
#include "streaming/checkpoint.h"
#include "streaming/model_weights.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

constexpr double kGigabyte = 1e9;
// Left to the system and to what is not planned (code, LibTorch's own memory, caches of the C library).
constexpr uint64_t kHostReserveBytes = 512 * kMiB;

// Cores this process may run on. One thread a core; a finer look at the topology needs hwloc.
int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

DType compute_dtype(const RunConfig& config) {
  switch (config.device.compute_dtype) {
    case ComputeType::kFloat32: return DType::kFloat32;
    case ComputeType::kBFloat16: return DType::kBFloat16;
    case ComputeType::kAuto: break;
  }
  const bool narrow = config.optimizer.state_format == StateFormat::kExact && cpu_has_fast_bf16();
  return narrow ? DType::kBFloat16 : DType::kFloat32;
}

RunConfig folder_config(const fs::path& folder, const std::vector<std::string>& overrides) {
  RunConfig config = parse_run_config(fmt::format("model:\n  model_name_or_path: \"{}\"\n", folder.string()),
                                      folder.string(), overrides, [](const std::string& text) { spdlog::warn(text); });
  return config;
}

RunConfig load_any_config(const std::string& argument, const std::vector<std::string>& overrides) {
  const auto warn = [](const std::string& text) { spdlog::warn(text); };
  const fs::path path(argument);
  std::error_code error;
  if (!fs::is_directory(path, error)) return load_run_config(path, overrides, warn);
  if (fs::exists(path / "config.yaml", error)) {
    std::vector<std::string> all = {"training.output_dir=" + argument, "training.resume_from_checkpoint=auto"};
    all.insert(all.end(), overrides.begin(), overrides.end());
    return load_run_config(path / "config.yaml", all, warn);
  }
  if (fs::exists(path / "config.json", error)) return folder_config(path, overrides);
  throw Error(ExitCode::kBadInput, argument + ": neither a run directory (config.yaml) nor a model folder "
                                              "(config.json); give a configuration file or one of these");
}

uint64_t device_budget(const RunSetup& setup) {
  if (setup.config.device.memory_gb > 0) return static_cast<uint64_t>(setup.config.device.memory_gb * static_cast<double>(kGiB));
  return UINT64_MAX;
}

// Settings that need less and change no result, each with the plan it would give.
std::vector<Remedy> remedies(const RunSetup& setup, const RunPlan& plan) {
  std::vector<Remedy> remedies;
  const StepSettings& settings = plan.planner.settings();
  const auto add = [&](const std::string& text, const StepSettings& other) {
    remedies.push_back({text, memory_plan(plan_run(plan.shape, other), 0)});
  };
  if (settings.purpose == Purpose::kTrain) {
    StepSettings recompute = settings;
    recompute.activations.assign(recompute.activations.size(), ActivationPolicy::kRecompute);
    if (recompute.activations != settings.activations) add("memory.activations=recompute", recompute);
    StepSettings thin = recompute;
    thin.prefetch_depth = 1;
    thin.gradient_slots = 1;
    add("memory.activations=recompute memory.prefetch_depth=1 memory.gradient_slots=1", thin);
  }
  RunShape small = plan.shape;
  const int64_t rows = setup.config.training.per_device_train_batch_size;
  if (rows > 1 && settings.purpose == Purpose::kTrain) {
    small.rows = 1;
    StepSettings split = settings;
    split.micro_batches = static_cast<int>(rows) * settings.micro_batches;
    split.activations.assign(split.activations.size(), ActivationPolicy::kRecompute);
    remedies.push_back({fmt::format("training.per_device_train_batch_size=1 training.gradient_accumulation_steps={} "
                                    "memory.activations=recompute", split.micro_batches),
                        memory_plan(plan_run(small, split), 0)});
  }
  return remedies;
}

// Blocks at the rates the configuration gives: 2 flops a parameter and token forward, twice that backward.
CostModel paced_costs(const RunSetup& setup) {
  const RunShape shape = training_shape(setup);
  const double rate = setup.config.device.paced_tflops * 1e12;
  const double tokens = static_cast<double>(shape.rows * shape.length);
  const ModelConfig& model = setup.model;
  const double head = static_cast<double>(model.vocab_size * model.hidden_size);
  const double all = static_cast<double>(parameter_count(model)) - 2 * head;
  const double block_flops = 2 * tokens * all / static_cast<double>(model.num_hidden_layers);
  return {.h2d_bytes_per_second = setup.config.device.h2d_gbps * kGigabyte,
          .d2h_bytes_per_second = setup.config.device.d2h_gbps * kGigabyte,
          .copy_latency_seconds = setup.config.device.latency_us * 1e-6,
          .forward_seconds = block_flops / rate,
          .backward_seconds = 2 * block_flops / rate,
          .recompute_seconds = block_flops / rate,
          .loss_seconds = 3 * 2 * tokens * head / rate};
}

}  // namespace

RunConfig load_verb_config(const std::string& argument, const std::vector<std::string>& overrides) {
  RunConfig config = load_any_config(argument, overrides);
  start_console(config.logging.level);
  return config;
}

RunSetup set_up_run(const RunConfig& config) {
  RunSetup setup{.config = config, .model = config.model.shape};
  if (!config.model.model_name_or_path.empty()) {
    setup.model = load_model_config(config.model.model_name_or_path);
  } else if (config.dataset.tokenizer == Tokenizer::kByte) {
    setup.model.bos_token_id = kByteBos;
    setup.model.eos_token_ids = {kByteEos};
    setup.model.pad_token_id = kBytePad;
  }
  validate(setup.model);
  setup.compute = compute_dtype(config);
  setup.compute_threads = static_cast<int>(config.device.compute_threads.value_or(usable_cores()));
  setup.optimizer_threads = static_cast<int>(config.optimizer.threads.value_or(usable_cores()));
  return setup;
}

RunShape training_shape(const RunSetup& setup) {
  const StateFormat format = setup.config.optimizer.state_format;
  return {.model = setup.model,
          .format = format,
          .compute = setup.compute,
          .gradient = gradient_dtype(format),
          .rows = setup.config.training.per_device_train_batch_size,
          .length = setup.config.dataset.max_seq_len,
          .kv_capacity = 0,
          .compute_threads = setup.compute_threads};
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
  return {.paths = config.dataset.path,
          .format = config.dataset.format,
          .max_seq_len = config.dataset.max_seq_len,
          .packing = config.dataset.packing,
          .val_size = config.dataset.val_size,
          .eval_paths = config.dataset.eval_path,
          .seed = static_cast<uint64_t>(config.training.seed),
          .vocab_size = setup.model.vocab_size,
          .rows = config.training.per_device_train_batch_size,
          .micro_batches = config.training.gradient_accumulation_steps};
}

TrainerSettings trainer_settings(const RunSetup& setup, int64_t total_steps) {
  const TrainingSection& training = setup.config.training;
  const OptimizerSection& optimizer = setup.config.optimizer;
  const auto warmup = static_cast<int64_t>(std::lround(training.warmup_ratio * static_cast<double>(total_steps)));
  return {.learning_rate = {.type = training.lr_scheduler_type,
                            .peak = training.learning_rate,
                            .minimum = training.min_learning_rate,
                            .warmup_steps = training.warmup_steps.value_or(warmup),
                            .total_steps = total_steps,
                            .decay_steps = training.decay_steps.value_or(total_steps / 10)},
          .beta1 = optimizer.beta1,
          .beta2 = optimizer.beta2,
          .eps = optimizer.eps,
          .weight_decay = training.weight_decay,
          .max_grad_norm = training.max_grad_norm};
}

EngineOptions engine_options(const RunSetup& setup) {
  EngineOptions options{.optimizer_threads = setup.optimizer_threads, .compute_threads = setup.compute_threads};
  if (setup.config.device.compute == ComputeMode::kPaced) options.pace = paced_costs(setup);
  return options;
}

std::unique_ptr<HostDevice> make_device(const RunSetup& setup) {
  const DeviceSection& device = setup.config.device;
  return std::make_unique<HostDevice>(HostDeviceOptions{.budget_bytes = device_budget(setup),
                                                        .h2d_gbps = device.h2d_gbps,
                                                        .d2h_gbps = device.d2h_gbps,
                                                        .latency_us = device.latency_us});
}

void require_fit(const RunSetup& setup, const RunPlan& plan) {
  const MemoryPlan memory = memory_plan(plan, 0);
  MemoryLimits limits{.host_bytes = UINT64_MAX, .device_bytes = device_budget(setup)};
  const uint64_t available = read_host_memory().available_bytes;
  if (available != UINT64_MAX) limits.host_bytes = available - std::min(available, kHostReserveBytes);
  if (setup.config.memory.host_memory_gb > 0) {
    limits.host_bytes = std::min(limits.host_bytes,
                                 static_cast<uint64_t>(setup.config.memory.host_memory_gb * static_cast<double>(kGiB)));
  }
  // The emulated device's memory is the host's own.
  const bool shared_fits = memory.host_bytes() + memory.device_bytes() <= limits.host_bytes;
  if (!shared_fits && memory.host_bytes() <= limits.host_bytes) {
    limits.device_bytes = std::min(limits.device_bytes, limits.host_bytes - memory.host_bytes());
  }
  if (shared_fits && memory.device_bytes() <= limits.device_bytes) return;
  penstock::require_fit(memory, limits, remedies(setup, plan));
}

fs::path resume_checkpoint(const RunConfig& config) {
  const std::string& wanted = config.training.resume_from_checkpoint;
  if (wanted.empty()) return {};
  const fs::path place = wanted == "auto" ? fs::path(config.training.output_dir) : fs::path(wanted);
  if (fs::exists(place / "manifest.json")) return place;
  const auto checkpoints = list_checkpoints(place);
  if (!checkpoints.empty()) return checkpoints.back();
  throw Error(ExitCode::kBadInput, fmt::format("training.resume_from_checkpoint: no checkpoint in '{}'; give a run "
                                               "directory or a checkpoint folder", place.string()));
}

void load_trained_weights(const RunSetup& setup, ModelMemory& memory) {
  if (const fs::path checkpoint = resume_checkpoint(setup.config); !checkpoint.empty()) {
    load_checkpoint(checkpoint, memory);
  } else if (!setup.config.model.model_name_or_path.empty()) {
    load_weights(memory, setup.config.model.model_name_or_path);
  } else {
    throw Error(ExitCode::kBadInput,
                "no trained weights: give a run directory instead of the configuration, "
                "training.resume_from_checkpoint=CHECKPOINT, or model.model_name_or_path=FOLDER");
  }
}

std::string continue_text(const RunSetup& setup, ModelMemory& memory, const std::string& text) {
  const GenerationSection& generation = setup.config.generation;
  GenerationRequest request;
  request.prompts.push_back({kByteBos});
  const std::vector<int32_t> bytes = encode_bytes(text);
  request.prompts.front().insert(request.prompts.front().end(), bytes.begin(), bytes.end());
  request.max_new_tokens = generation.max_new_tokens;
  for (int64_t id : setup.model.eos_token_ids) request.stop_tokens.push_back(static_cast<int32_t>(id));
  request.sampling = {.greedy = generation.greedy,
                      .temperature = generation.temperature,
                      .top_k = generation.top_k,
                      .top_p = generation.top_p,
                      .seed = static_cast<uint64_t>(generation.sample_seed)};
  RunShape shape = generation_shape(setup.model, memory.format(), setup.compute, request);
  shape.compute_threads = setup.compute_threads;
  const RunPlan plan = plan_run(shape, step_settings(setup, Purpose::kGenerate));
  const std::unique_ptr<HostDevice> device = make_device(setup);
  StepEngine engine(plan, memory, *device, engine_options(setup));
  return with_replacement_characters(decode_bytes(generate(engine, request).front()));
}

}  // namespace penstock
