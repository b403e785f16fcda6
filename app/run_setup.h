// From a configuration to the objects of a run: what `auto` means on this machine, shapes, settings, device.
// Shared by the verbs; not a verb. Nothing here writes a file.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "app/run_config.h"
#include "core/host_device.h"
#include "data/dataset.h"
#include "streaming/generator.h"
#include "streaming/model_memory.h"
#include "streaming/run_plan.h"
#include "streaming/step_engine.h"
#include "streaming/trainer.h"

namespace penstock {

// The argument of a verb: a configuration file, a run directory (its config.yaml and newest checkpoint), or a Hugging
// Face folder. Throws Error(kBadInput).
RunConfig load_verb_config(const std::string& argument, const std::vector<std::string>& overrides);

// A configuration whose model is known and whose `auto` values are decided.
struct RunSetup {
  RunConfig config;
  ModelConfig model;
  DType compute = DType::kFloat32;
  int compute_threads = 1;
  int optimizer_threads = 1;
};

// Reads config.json where model_name_or_path names a folder. Throws Error(kBadInput), Error(kDevice).
RunSetup set_up_run(const RunConfig& config);

RunShape training_shape(const RunSetup& setup);
StepSettings step_settings(const RunSetup& setup, Purpose purpose);
DatasetOptions dataset_options(const RunSetup& setup);
TrainerSettings trainer_settings(const RunSetup& setup, int64_t total_steps);
EngineOptions engine_options(const RunSetup& setup);

std::unique_ptr<HostDevice> make_device(const RunSetup& setup);

// Throws Error(kDoesNotFit) with the byte table before anything is allocated. `setup` gives limits and remedies.
void require_fit(const RunSetup& setup, const RunPlan& plan);

// Weights for a verb that does not train: the checkpoint that resume_from_checkpoint names, or model_name_or_path.
// Throws Error(kBadInput) naming both when the configuration has neither.
void load_trained_weights(const RunSetup& setup, ModelMemory& memory);

// The checkpoint of training.resume_from_checkpoint (auto: the newest of output_dir); empty: none is asked for.
std::filesystem::path resume_checkpoint(const RunConfig& config);

// The continuation of `text` by an engine made for it; the byte tokenizer. Returns new text only.
std::string continue_text(const RunSetup& setup, ModelMemory& memory, const std::string& text);

}  // namespace penstock
