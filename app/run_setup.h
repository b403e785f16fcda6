// From a configuration to the objects of a run: what `auto` means on this machine, shapes, settings, device.
// Shared by the verbs; not a verb. Nothing here writes a file.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/machine_profile.h"
#include "app/run_config.h"
#include "app/run_device.h"
#include "data/dataset.h"
#include "streaming/generator.h"
#include "streaming/model_memory.h"
#include "streaming/run_plan.h"
#include "streaming/step_engine.h"
#include "streaming/trainer.h"

namespace penstock {

// The argument of a verb: a configuration file, a run directory (its config.yaml and newest checkpoint), or a Hugging
// Face folder. Throws Error(kBadInput).
RunConfig load_verb_config(const std::string& argument, const std::vector<std::string>& overrides, DataNeed need);

// A configuration whose model is known and whose `auto` values are decided.
struct RunSetup {
  RunConfig config;
  ModelConfig model;
  std::string model_folder;     // model_name_or_path on this machine; empty: the configuration gives the shape
  TrainablePatterns trainable;  // empty: all
  int head_parts = 1;
  RunDevice device;
  std::optional<MachineProfile> profile;  // what a probe has measured here; empty: none is saved
  DType compute = DType::kFloat32;
  int compute_threads = 1;
  int optimizer_threads = 1;
  std::vector<std::vector<int>> optimizer_cpus;  // of each thread; empty: none is bound (core/core_plan.h)
  std::optional<int> memory_node;                // NUMA node of the host memory; empty: the system's choice
  std::filesystem::path system_root = "/";       // where the memory's limits are read; tests have one of their own
};

// Reads config.json where model_name_or_path names a folder. Throws Error(kBadInput), Error(kDevice);
// Error(kDoesNotFit) for a micro-batch whose size could not even be counted.
// kOpen for verbs that compute: their device must be there, and its memory is what is free.
RunSetup set_up_run(const RunConfig& config, CudaLook look = CudaLook::kOpen);

RunShape training_shape(const RunSetup& setup);
StepSettings step_settings(const RunSetup& setup, Purpose purpose);
DatasetOptions dataset_options(const RunSetup& setup);
LearningRateSettings learning_rate_settings(const RunSetup& setup, int64_t total_steps);
// Also warns where warm-up does not fit into total_steps.
TrainerSettings trainer_settings(const RunSetup& setup, int64_t total_steps);
EngineOptions engine_options(const RunSetup& setup);

// As run_device.h.
std::unique_ptr<Device> make_device(const RunSetup& setup, const RunPlan& plan);

// Most device memory the run may use; UINT64_MAX: no limit is set.
uint64_t device_budget(const RunSetup& setup);

// Bytes of the files that a run keeps in memory whole. Throws Error(kBadInput) for an entry without a file.
uint64_t data_file_bytes(const RunSetup& setup);

// Throws Error(kDoesNotFit) with the byte table before anything is allocated. `setup` gives limits and remedies. Counts
// the data's files for every purpose but generation, or what `data_bytes` says.
void require_fit(const RunSetup& setup, const RunPlan& plan);
void require_fit(const RunSetup& setup, const RunPlan& plan, uint64_t data_bytes);
// For what runs no step: the device does not count.
void require_host_fit(const RunSetup& setup, const MemoryPlan& memory);

// Throws Error(kBadInput) with device.compute: paced, whose numbers mean nothing.
void refuse_paced(const RunSetup& setup, const char* verb);

// Weights for a verb that does not train: the checkpoint that resume_from_checkpoint names, model/ of a run that kept
// no checkpoint, or model_name_or_path. Throws Error(kBadInput) naming the ways out when the configuration has none.
void load_trained_weights(const RunSetup& setup, ModelMemory& memory);

// The checkpoint of training.resume_from_checkpoint; empty: none is asked for. As in training, `auto` is the newest of
// output_dir, and empty where that has none. Throws Error(kBadInput).
std::filesystem::path resume_checkpoint(const RunConfig& config);

}  // namespace penstock
