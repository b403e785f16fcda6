#include "app/training_run.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <limits>

#include "app/console.h"
#include "app/load_progress.h"
#include "app/model_setup.h"
#include "app/run_memory.h"
#include "app/signals.h"
#include "app/source_folder.h"
#include "core/cuda/cuda_device.h"
#include "streaming/model_weights.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

std::array<double, kLaneCount> lane_milliseconds(const TraceRecorder& trace) {
  std::array<double, kLaneCount> busy = {};
  for (const TraceEvent& event : trace.events()) {
    busy[static_cast<size_t>(event.lane)] += static_cast<double>(event.end_ns - event.begin_ns) * 1e-6;
  }
  return busy;
}

}  // namespace

TrainingRun::TrainingRun(const RunConfig& config, const fs::path& config_path, const std::string& program,
                         DeviceMaker make)
    : program_(program),
      make_device_(std::move(make)),
      setup_(set_up_run(config)),
      prompt_(samples_at_end(setup_) ? std::optional(encode_prompt(setup_)) : std::nullopt),
      plan_(checked_plan(setup_, prompt_)),
      choice_(choose_directory(setup_, config_path, program)),
      dataset_(start_up_.entering(StartUpPhase::kData, dataset_options(setup_))),
      stream_(std::make_shared<TrainingStream>(dataset_.training(), dataset_options(setup_))),
      data_(data_identity(setup_, dataset_, *stream_)),
      total_steps_(total_steps(setup_, *stream_)) {
  if (!choice_.resume.empty()) check_resume();
  if (config.optimizer.update == UpdateMode::kEager) {
    spdlog::warn(
        "optimizer.update eager: a step that is aborted leaves weights mixed; resume is then from the last "
        "checkpoint");
  }
}

void TrainingRun::check_resume() {
  const CheckpointState state = read_checkpoint_state(choice_.resume);
  require_same_data(state.data, data_, choice_.resume);
  stream_ = std::make_shared<TrainingStream>(dataset_.training(), dataset_options(setup_), state.cursor);
}

ExitCode TrainingRun::run() {
  start_ = Clock::now();
  open();
  try {
    return train();
  } catch (const Error& error) {
    close_after_error(error.code() == ExitCode::kDevice || error.code() == ExitCode::kDoesNotFit);
    throw;
  } catch (...) {
    close_after_error(/*state_is_whole=*/false);
    throw;
  }
}

void TrainingRun::close_after_error(bool state_is_whole) {
  progress_->finish();
  if (state_is_whole) save_without_device();
  try {
    print_closing("stopped by an error");
  } catch (const Error&) {
    // The first error is the one to report.
  }
}

ExitCode TrainingRun::train() {
  print_opening();
  while (trainer_->progress().step < total_steps_) {
    if (stop_requested()) {
      progress_->finish();
      save();
      print_closing("stopped by a signal");
      return learns(setup_) ? ExitCode::kSaved : ExitCode::kDone;
    }
    train_one();
  }
  progress_->finish();
  finish();
  return ExitCode::kDone;
}

void TrainingRun::open() {
  // The device first: what it refuses is known before memory is filled, and a probe of pinning finds it free.
  start_up_.enter(StartUpPhase::kDevice);
  device_ = make_device_(setup_, plan_);
  start_up_.enter(StartUpPhase::kMemory);
  memory_ = map_model_memory(setup_, plan_.shape, plan_.planner.buffers());
  start_up_.enter(StartUpPhase::kDevice);
  EngineOptions options = engine_options(setup_);
  options.traces = true;
  engine_ = std::make_unique<StepEngine>(plan_, *memory_, *device_, options);
  const TrainerSettings settings = trainer_settings(setup_, total_steps_);
  trainer_ = std::make_unique<Trainer>(*engine_, settings);
  start_up_.enter(StartUpPhase::kWeights);
  load_state();
  start_up_.enter(StartUpPhase::kFirstStep);
  directory_ = create_run_directory(choice_);
  // What this run's directory has beyond the step we go on from is an abandoned branch: checkpoints, then metrics.
  const bool continues = choice_.kind == RunChoice::Kind::kContinue;
  const int abandoned = continues ? remove_checkpoints_after(directory_, first_step_) : 0;
  if (abandoned > 0) {
    spdlog::info("removed {} newer checkpoint{} of {}: this run goes on from step {}", abandoned,
                 abandoned == 1 ? "" : "s", directory_.string(), first_step_);
  }
  write_effective_config(directory_, resolved_config(setup_, settings.learning_rate.warmup_steps));
  if (!setup_.model_folder.empty()) keep_source_files(setup_.model_folder, directory_);
  metrics_ = std::make_unique<MetricsLog>(directory_ / "metrics.jsonl", first_step_);
  progress_ = std::make_unique<Progress>(error_console(), setup_.config.logging.logging_steps, first_step_);
  loader_ = std::make_unique<Loader>([stream = std::move(stream_)] { return stream->next(); });
}

void TrainingRun::load_state() {
  if (!choice_.resume.empty()) {
    const CheckpointState state = load_checkpoint(choice_.resume, *memory_);
    if (state.compute_dtype != dtype_name(setup_.compute) || state.compute_threads != setup_.compute_threads) {
      spdlog::warn("resumed with {} compute on {} threads, saved with {} on {}: results will differ in rounding",
                   dtype_name(setup_.compute), setup_.compute_threads, state.compute_dtype, state.compute_threads);
    }
    trainer_->restore(state.progress);
    cursor_ = state.cursor;
    first_step_ = last_step_ = state.progress.step;
    if (choice_.kind != RunChoice::Kind::kContinue) return;  // a branch has nothing of its own yet
    durable_ = choice_.resume;
    saved_step_ = first_step_;
  } else if (!starts_from_scratch(setup_)) {
    load_weights(*memory_, setup_.model_folder, shown_on(error_console()));
  } else {
    WorkerTeam team(team_options(setup_));
    initialize_weights(*memory_, static_cast<uint64_t>(setup_.config.training.seed), team);
  }
}

void TrainingRun::print_opening() const {
  const TrainingSection& training = setup_.config.training;
  const MemoryPlan memory = memory_plan(plan_, 0);
  const ParameterCounts parameters = parameter_counts(setup_);
  uint64_t checkpoint_bytes = 0;
  for (int layer = 0; layer < memory_->layer_count(); ++layer) {
    checkpoint_bytes += memory_->layer(layer).wire.size() + memory_->layer(layer).state.size();
  }
  std::error_code error;
  const uint64_t free_bytes = fs::space(directory_, error).available;
  const std::string trained = parameters.trained == parameters.all
                                  ? "all trained"
                                  : format_count(static_cast<double>(parameters.trained)) + " of them trained";
  spdlog::info("model    {}, {} parameters, {}", setup_.model.model_type,
               format_count(static_cast<double>(parameters.all)), trained);
  if (first_step_ < total_steps_) {
    spdlog::info(
        "steps    {} to {}, {} tokens each: {} x {} x {}; more accumulation is nearly free, weights cross the "
        "link once per step",
        first_step_ + 1, total_steps_, tokens_per_step(setup_), training.gradient_accumulation_steps,
        training.per_device_train_batch_size, setup_.config.dataset.max_seq_len);
  }
  spdlog::info("memory   host {} ({:.1f} B per parameter), device {}", format_bytes(memory.host_bytes()),
               static_cast<double>(memory.host_bytes()) / static_cast<double>(parameters.all),
               format_bytes(memory.device_bytes()));
  spdlog::info("device   {}, {} compute on {} threads, optimizer {} on {} threads", device_->description(),
               dtype_name(setup_.compute), setup_.compute_threads, state_format_name(plan_.shape.format),
               setup_.optimizer_threads);
  spdlog::info("run      {}, a checkpoint takes {}, {} free", directory_.string(), format_bytes(checkpoint_bytes),
               format_bytes(error ? 0 : free_bytes));
  if (!choice_.resume.empty()) spdlog::info("resumed  {}", choice_.resume.string());
}

void TrainingRun::train_one() {
  const Clock::time_point begin = Clock::now();
  const StepBatch batch = loader_->next();
  const double data_seconds = seconds_since(begin);
  const int64_t epoch_before = cursor_.epoch;
  const StepReport report = trainer_->step(batch);
  const double seconds = seconds_since(begin);
  cursor_ = batch.cursor;
  last_step_ = report.step;
  tokens_ += batch.real_tokens;
  step_seconds_ += seconds;
  StepMetrics metrics{.step = report.step,
                      .loss = report.loss,
                      .gradient_norm = report.gradient_norm,
                      .clip_factor = report.clip_factor,
                      .learning_rate = report.learning_rate,
                      .tokens = batch.real_tokens,
                      .trained_tokens = report.trained_tokens,
                      .tokens_per_second = static_cast<double>(batch.real_tokens) / seconds,
                      .step_ms = seconds * 1e3,
                      .data_ms = data_seconds * 1e3,
                      .skipped = report.skipped};
  if (report.skipped) metrics.loss = metrics.gradient_norm = std::numeric_limits<double>::quiet_NaN();
  if (report.step == first_step_ + 1) end_start_up();
  if (batch.trained_tokens > 0) metrics.lane_ms = lane_milliseconds(*engine_->trace());
  metrics_->append(metrics);
  progress_->update({.step = report.step,
                     .total_steps = total_steps_,
                     .loss = report.loss,
                     .learning_rate = report.learning_rate,
                     .tokens_per_second = metrics.tokens_per_second,
                     .elapsed_seconds = seconds_since(start_),
                     .skipped = report.skipped});
  const int64_t eval_steps = setup_.config.training.eval_steps;
  if (eval_steps > 0 && report.step % eval_steps == 0) evaluate_now();
  if (save_is_due(epoch_before)) save();
}

void TrainingRun::end_start_up() {
  const StartUpTimes times = start_up_.finish();
  spdlog::info(format_start_up(times, memory_->mapped_bytes()));
  check_device_memory();
}

void TrainingRun::check_device_memory() const {
  const std::optional<CardUse> use = card_use(setup_.config.device, setup_.device);
  if (!use) return;  // the emulated device refuses what was not planned
  const uint64_t planned_bytes = memory_plan(plan_, 0).device_bytes();
  if (use->taken_bytes > planned_bytes + planned_bytes / 32 + CudaDeviceOptions{}.reserve_bytes) {
    spdlog::warn(
        "after the first step {} of the card's memory are gone, {} were planned: if this run took them, please report "
        "it; device.memory_gb leaves more free",
        format_bytes(use->taken_bytes), format_bytes(planned_bytes));
  }
  if (use->stalls > 0) {
    spdlog::warn(
        "LibTorch stopped the device {} times for memory in the first step: its temporaries are more than "
        "planned; please report it",
        use->stalls);
  }
}

void TrainingRun::evaluate_now() {
  const int64_t step = trainer_->progress().step;
  if (dataset_.validation().documents->empty() || evaluated_step_ == step) return;
  const EvaluationResult result =
      evaluate_documents(dataset_.validation(), dataset_options(setup_), setup_.config.training.max_eval_tokens,
                         [this](std::span<const MicroBatch> batches) { return trainer_->evaluate(batches); });
  metrics_->append(EvaluationMetrics{.step = step, .eval_loss = result.loss, .bits_per_byte = result.bits_per_byte});
  const std::string bits = result.bits_per_byte > 0 ? fmt::format(", {:.4f} bits per byte", result.bits_per_byte) : "";
  spdlog::info("step {}: validation loss {:.4f}{}", step, result.loss, bits);
  evaluated_step_ = step;
}

bool TrainingRun::save_is_due(int64_t epoch_before) const {
  if (!learns(setup_)) return false;
  const TrainingSection& training = setup_.config.training;
  switch (training.save_strategy) {
    case SaveStrategy::kNo:
      return false;
    case SaveStrategy::kSteps:
      return trainer_->progress().step % training.save_steps == 0;
    case SaveStrategy::kEpoch:
      return cursor_.epoch != epoch_before;
  }
  return false;
}

void TrainingRun::save() {
  if (!learns(setup_) || saved_step_ == trainer_->progress().step) return;
  trainer_->drain();
  durable_ = save_checkpoint(directory_, *memory_,
                             {.progress = trainer_->progress(),
                              .cursor = cursor_,
                              .data = data_,
                              .compute_dtype = std::string(dtype_name(setup_.compute)),
                              .compute_threads = setup_.compute_threads});
  saved_step_ = trainer_->progress().step;
  remove_old_checkpoints(directory_, setup_.config.training.save_total_limit, durable_);
}

// Updates that are still pending are the host's work alone. Eager updates have mixed two steps.
void TrainingRun::save_without_device() {
  if (trainer_ == nullptr || !learns(setup_) || setup_.config.optimizer.update == UpdateMode::kEager) return;
  if (setup_.config.training.save_strategy == SaveStrategy::kNo || trainer_->progress().step == first_step_) return;
  try {
    save();
    spdlog::warn("the step that failed changed nothing; the state of step {} is saved", saved_step_);
  } catch (const Error& error) {
    spdlog::warn("the state of step {} is whole, but could not be saved: {}", trainer_->progress().step, error.what());
  }
}

void TrainingRun::finish() {
  trainer_->drain();
  const bool trained = last_step_ > first_step_;
  if (trained) evaluate_now();
  if (setup_.config.training.save_strategy != SaveStrategy::kNo) save();
  if (learns(setup_)) export_and_sample();
  print_closing(trained ? "done" : "nothing left to train");
}

void TrainingRun::export_and_sample() {
  const fs::path folder = directory_ / "model";
  ModelFolderSettings settings = model_folder_settings(setup_);
  settings.overwrite = true;
  export_model(*memory_, folder.string(), settings);
  print_result(fmt::format("model    {}", folder.string()));
  if (!prompt_) return;
  // The generator needs the device's memory; the host's weights stay.
  trainer_.reset();
  engine_.reset();
  device_.reset();
  const std::string sample = continue_text(setup_, *memory_, *prompt_);
  print_result("--- sample ---");
  print_result(setup_.config.generation.prompt + sample);
  print_result("--- end of sample ---");
}

void TrainingRun::print_closing(const std::string& reason) const {
  if (step_seconds_ > 0) {
    print_result(fmt::format("speed    {} in {} of steps, {} in all",
                             format_rate(static_cast<double>(tokens_) / step_seconds_), format_duration(step_seconds_),
                             format_duration(seconds_since(start_))));
  }
  const std::string where = fmt::format("{}: step {} of {}", reason, last_step_, total_steps_);
  if (!learns(setup_)) {
    print_result(where + "; device.compute: paced learns nothing, so there is no checkpoint, model or sample");
  } else if (durable_.empty()) {
    // A branch begins again where it began.
    print_result(fmt::format("{}, no checkpoint; begin again with: {}", where,
                             restart_command(directory_, choice_.resume, program_)));
  } else {
    print_result(fmt::format("{}, last checkpoint {}; resume with: {}", where, durable_.string(),
                             resume_command(directory_, program_)));
  }
}

}  // namespace penstock
