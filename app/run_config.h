// Everything a run can be told, as plain values: one struct per section of the configuration file.
// Not a parser and not a policy: app/config_file.h fills it, and whatever is unset here is resolved by the verbs.
// Invariant: a RunConfig that load_run_config() returned is in range and free of contradictions. What an unset
// optional means is written in the key table (app/config_keys.h), as is every default's reason.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/cuda/pin_choice.h"
#include "data/dataset_options.h"
#include "model/model_config.h"
#include "optim/learning_rate.h"
#include "optim/state_format.h"
#include "streaming/plan/step_planner.h"

namespace penstock {

enum class FinetuningType : uint8_t { kFull, kFreeze };
enum class SaveStrategy : uint8_t { kNo, kSteps, kEpoch };
enum class BackendChoice : uint8_t { kAuto, kHost, kCuda };
enum class ComputeType : uint8_t { kAuto, kFloat32, kBFloat16 };
enum class ComputeMode : uint8_t { kReal, kPaced };
enum class LogLevel : uint8_t { kDebug, kInfo, kWarning, kError };

// Whether a configuration without dataset.path will do: what is done with it decides.
enum class DataNeed : uint8_t { kOptional, kRequired };

struct ModelSection {
  std::string model_name_or_path;   // if not empty, `shape` is not used
  bool train_from_scratch = false;  // of that folder only the shape is taken
  ModelConfig shape;
  bool operator==(const ModelSection&) const = default;
};

struct DatasetSection {
  std::vector<std::string> path;
  std::vector<std::string> eval_path;
  DatasetFormat format = DatasetFormat::kAuto;
  Tokenizer tokenizer = Tokenizer::kAuto;
  int64_t max_seq_len = 1024;
  bool packing = true;
  double val_size = 0;  // below 1: a share of the documents; else their number
  bool operator==(const DatasetSection&) const = default;
};

struct TrainingSection {
  int64_t per_device_train_batch_size = 1;
  int64_t gradient_accumulation_steps = 1;
  std::optional<int64_t> tokens_per_step;  // turned into gradient_accumulation_steps by the loader, then unset
  std::optional<int64_t> max_steps;        // of these three at least one is set
  std::optional<double> num_train_epochs;
  std::optional<int64_t> max_tokens;
  FinetuningType finetuning_type = FinetuningType::kFull;
  std::optional<int64_t> freeze_trainable_layers;  // kFreeze only: last blocks; negative: first; unset: 2
  std::vector<std::string> trainable;              // patterns over tensor names; empty: all
  double learning_rate = 3e-4;
  double min_learning_rate = 0;
  LrSchedulerType lr_scheduler_type = LrSchedulerType::kCosine;
  std::optional<int64_t> warmup_steps;  // unset: warmup_ratio of all steps
  double warmup_ratio = 0.03;
  std::optional<int64_t> decay_steps;  // wsd only; unset: a tenth of all steps
  double weight_decay = 0.1;
  double max_grad_norm = 1.0;
  int64_t seed = 42;
  std::string output_dir;  // empty: runs/<config>-<n>
  bool overwrite_output_dir = false;
  SaveStrategy save_strategy = SaveStrategy::kSteps;
  int64_t save_steps = 500;
  int64_t save_total_limit = 0;        // 0: all are kept
  int64_t eval_steps = 0;              // 0: only at the end
  int64_t max_eval_tokens = 0;         // 0: all
  std::string resume_from_checkpoint;  // empty, "auto" or a path
  bool operator==(const TrainingSection&) const = default;
};

struct OptimizerSection {
  StateFormat state_format = StateFormat::kExact;
  UpdateMode update = UpdateMode::kDeferred;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  std::optional<int64_t> threads;  // unset: the probe's knee, or one per physical core
  bool operator==(const OptimizerSection&) const = default;
};

struct MemorySection {
  int64_t prefetch_depth = 1;
  int64_t gradient_slots = 2;
  ActivationPolicy activations = ActivationPolicy::kKeep;
  std::optional<int64_t> head_parts;   // unset: 1, or the fewest that fit
  int64_t keep_layers = 0;             // with kRecompute: the first blocks that keep all the same
  PinRequest pin = PinRequest::kAuto;  // CUDA only
  std::optional<int64_t> numa;         // unset: the card's node, or the system's choice
  bool huge_pages = true;
  double host_memory_gb = 0;  // 0: what is free
  bool operator==(const MemorySection&) const = default;
};

struct DeviceSection {
  BackendChoice backend = BackendChoice::kAuto;
  int64_t index = 0;
  double memory_gb = 0;  // 0: all
  bool deterministic = false;
  ComputeType compute_dtype = ComputeType::kAuto;
  std::optional<int64_t> compute_threads;  // unset: one per usable CPU
  ComputeMode compute = ComputeMode::kReal;
  double paced_tflops = 1;
  double h2d_gbps = 0;  // 0: as fast as memcpy
  double d2h_gbps = 0;
  double latency_us = 0;
  bool operator==(const DeviceSection&) const = default;
};

struct LoggingSection {
  int64_t logging_steps = 10;
  LogLevel level = LogLevel::kInfo;
  bool operator==(const LoggingSection&) const = default;
};

struct GenerationSection {
  std::string prompt;
  int64_t max_new_tokens = 128;
  double temperature = 1.0;
  int64_t top_k = 0;   // 0: off
  double top_p = 1.0;  // 1: off
  bool greedy = false;
  int64_t sample_seed = 0;
  bool operator==(const GenerationSection&) const = default;
};

struct RunConfig {
  ModelSection model;
  DatasetSection dataset;
  TrainingSection training;
  OptimizerSection optimizer;
  MemorySection memory;
  DeviceSection device;
  LoggingSection logging;
  GenerationSection generation;
  bool operator==(const RunConfig&) const = default;
};

}  // namespace penstock
