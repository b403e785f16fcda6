// One training run from its configuration to its last line: directory, data, steps, evaluations, checkpoints, export.
// Wiring of trainer, loader and files; what a step does is the schedule's business.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "app/evaluation.h"
#include "app/metrics_log.h"
#include "app/progress.h"
#include "app/run_start.h"
#include "app/start_up.h"
#include "core/error.h"
#include "data/loader.h"

namespace penstock {

class TrainingRun {
 public:
  using DeviceMaker = std::function<std::unique_ptr<Device>(const RunSetup& setup, const RunPlan& plan)>;

  // Checks everything that can be checked before a file is written: memory, data, target directory, the checkpoint's
  // manifest. `config_path` names a new run's directory; `program` is how the user called us, for commands to copy.
  // The steps run on what `make` returns.
  TrainingRun(const RunConfig& config, const std::filesystem::path& config_path, const std::string& program,
              DeviceMaker make = make_device);

  // Trains to the end, or to a stop signal (kSaved). Throws Error; the run directory then holds what was durable, and
  // if the run had begun, its closing line is printed. A step that dies with its device, or for want of memory, leaves
  // the last step's state whole: it is saved first.
  ExitCode run();

 private:
  void check_resume();
  void open();
  void load_state();
  ExitCode train();
  void print_opening() const;
  void train_one();
  // After the first step.
  void end_start_up();
  // Warns where the first step took more of a card's memory than planned.
  void check_device_memory() const;
  void evaluate_now();
  void save();
  void save_without_device();
  void close_after_error(bool state_is_whole);
  bool save_is_due(int64_t epoch_before) const;
  void finish();
  void export_and_sample();
  void print_closing(const std::string& reason) const;

  std::string program_;
  DeviceMaker make_device_;
  StartUpClock start_up_;
  RunSetup setup_;
  std::optional<Prompt> prompt_;  // of the sample at the end
  RunPlan plan_;
  RunChoice choice_;
  Dataset dataset_;
  std::shared_ptr<TrainingStream> stream_;  // of the cursor's position until the loader has it
  DataIdentity data_;
  int64_t total_steps_;
  std::filesystem::path directory_;
  std::unique_ptr<ModelMemory> memory_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<StepEngine> engine_;
  std::unique_ptr<Trainer> trainer_;
  std::unique_ptr<Loader> loader_;
  std::unique_ptr<MetricsLog> metrics_;
  std::unique_ptr<Progress> progress_;
  DataCursor cursor_;              // of the last finished step
  std::filesystem::path durable_;  // the newest checkpoint in this run's directory
  int64_t last_step_ = 0;
  int64_t first_step_ = 0;   // finished before this process
  int64_t saved_step_ = -1;  // of durable_
  int64_t evaluated_step_ = -1;
  int64_t tokens_ = 0;       // of this process
  double step_seconds_ = 0;  // spent in steps, data included
  std::chrono::steady_clock::time_point start_;
};

}  // namespace penstock
