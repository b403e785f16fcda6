#include "app/run_start.h"

#include <fmt/format.h>

#include <algorithm>

#include "app/model_setup.h"
#include "core/error.h"
#include "model/hf_folder_writer.h"

namespace penstock {

namespace fs = std::filesystem;

RunPlan checked_plan(const RunSetup& setup, const std::optional<Prompt>& prompt) {
  require_row_positions(setup);
  RunPlan plan = plan_run(training_shape(setup), step_settings(setup, Purpose::kTrain));
  require_fit(setup, plan);
  if (prompt) require_fit(setup, sample_plan(setup, *prompt));
  return plan;
}

RunChoice choose_directory(const RunSetup& setup, const fs::path& config_path, const std::string& program) {
  const TrainingSection& training = setup.config.training;
  RunChoice choice = choose_run_directory({.config_path = config_path,
                                           .output_dir = training.output_dir,
                                           .resume_from_checkpoint = training.resume_from_checkpoint,
                                           .overwrite = training.overwrite_output_dir,
                                           .program = program});
  const bool continues = choice.kind == RunChoice::Kind::kContinue;
  if (!learns(setup)) {
    if (!continues) return choice;
    throw Error(ExitCode::kBadInput, choice.directory.string() +
                                         ": device.compute: paced learns nothing and cannot "
                                         "continue a run; give another training.output_dir");
  }
  const bool may_hold_model = continues || (choice.kind == RunChoice::Kind::kNew && !choice.directory.empty());
  if (may_hold_model) check_model_folder_target((choice.directory / "model").string(), continues);
  if (!setup.model_folder.empty()) {
    check_model_folder_source(setup.model_folder, layer_layouts(setup.model, setup.trainable));
  }
  return choice;
}

int64_t tokens_per_step(const RunSetup& setup) {
  const TrainingSection& training = setup.config.training;
  return training.per_device_train_batch_size * training.gradient_accumulation_steps * setup.config.dataset.max_seq_len;
}

int64_t total_steps(const RunSetup& setup, const TrainingStream& stream) {
  const TrainingSection& training = setup.config.training;
  int64_t steps = INT64_MAX;
  if (training.max_steps) steps = std::min(steps, *training.max_steps);
  if (training.max_tokens) {
    const int64_t per_step = tokens_per_step(setup);
    steps = std::min(steps, (*training.max_tokens + per_step - 1) / per_step);
  }
  if (training.num_train_epochs) steps = std::min(steps, stream.steps_for_epochs(*training.num_train_epochs));
  return steps;
}

DataIdentity data_identity(const RunSetup& setup, const Dataset& dataset, const TrainingStream& stream) {
  return {.seed = static_cast<uint64_t>(setup.config.training.seed),
          .max_seq_len = setup.config.dataset.max_seq_len,
          .packing = setup.config.dataset.packing,
          .documents = std::ssize(*dataset.training().documents),
          .first_epoch_rows = stream.rows_in_epoch(0)};
}

void require_same_data(const DataIdentity& saved, const DataIdentity& now, const fs::path& checkpoint) {
  const auto require = [&](const char* what, const auto& then, const auto& here) {
    if (then == here) return;
    throw Error(ExitCode::kBadInput,
                fmt::format("{}: saved with {} {}, the configuration gives {}: the data cursor would point at other "
                            "text; resume with the saved value",
                            checkpoint.string(), what, then, here));
  };
  require("training.seed", saved.seed, now.seed);
  require("dataset.max_seq_len", saved.max_seq_len, now.max_seq_len);
  require("dataset.packing", saved.packing, now.packing);
  require("training documents (dataset.path, dataset.val_size)", saved.documents, now.documents);
  require("rows an epoch (dataset.path)", saved.first_epoch_rows, now.first_epoch_rows);
}

RunConfig resolved_config(const RunSetup& setup, int64_t warmup_steps) {
  RunConfig config = setup.config;
  config.device.compute_dtype = setup.compute == DType::kBFloat16 ? ComputeType::kBFloat16 : ComputeType::kFloat32;
  config.device.compute_threads = setup.compute_threads;
  config.device.backend = setup.device.backend == Backend::kCuda ? BackendChoice::kCuda : BackendChoice::kHost;
  config.training.warmup_steps = warmup_steps;
  config.memory.head_parts = setup.head_parts;
  return config;
}

}  // namespace penstock
