#include "app/training_run.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>

#include "app/console.h"
#include "app/signals.h"
#include "streaming/checkpoint.h"
#include "streaming/model_weights.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

int64_t tokens_per_step(const RunSetup& setup) {
  const TrainingSection& training = setup.config.training;
  return training.per_device_train_batch_size * training.gradient_accumulation_steps * setup.config.dataset.max_seq_len;
}

// Of several limits the first that is reached counts.
int64_t total_steps(const RunSetup& setup, const Dataset& dataset) {
  const TrainingSection& training = setup.config.training;
  int64_t steps = INT64_MAX;
  if (training.max_steps) steps = std::min(steps, *training.max_steps);
  if (training.max_tokens) {
    const int64_t per_step = tokens_per_step(setup);
    steps = std::min(steps, (*training.max_tokens + per_step - 1) / per_step);
  }
  if (training.num_train_epochs) {
    const TrainingStream stream(dataset.training(), dataset_options(setup));
    steps = std::min(steps, stream.steps_for_epochs(*training.num_train_epochs));
  }
  return steps;
}

RunPlan checked_plan(const RunSetup& setup) {
  RunPlan plan = plan_run(training_shape(setup), step_settings(setup, Purpose::kTrain));
  require_fit(setup, plan);
  return plan;
}

bool is_checkpoint(const fs::path& path) { return fs::exists(path / "manifest.json"); }

RunChoice chosen_directory(const RunConfig& config, const fs::path& config_path, const std::string& program) {
  return choose_run_directory({.config_path = config_path,
                               .output_dir = config.training.output_dir,
                               .resume_from_checkpoint = config.training.resume_from_checkpoint,
                               .overwrite = config.training.overwrite_output_dir,
                               .program = program},
                              is_checkpoint);
}

std::array<double, kLaneCount> lane_milliseconds(const TraceRecorder& trace) {
  std::array<double, kLaneCount> busy = {};
  for (const TraceEvent& event : trace.events()) {
    busy[static_cast<size_t>(event.lane)] += static_cast<double>(event.end_ns - event.begin_ns) * 1e-6;
  }
  return busy;
}

}  // namespace

TrainingRun::TrainingRun(const RunConfig& config, const fs::path& config_path, const std::string& program)
    : program_(program),
      setup_(set_up_run(config)),
      plan_(checked_plan(setup_)),
      choice_(chosen_directory(config, config_path, program)),
      dataset_(dataset_options(setup_)),
      total_steps_(total_steps(setup_, dataset_)) {
  if (config.optimizer.update == UpdateMode::kEager) {
    spdlog::warn("optimizer.update eager: a step that is aborted leaves weights mixed; resume is then from the last "
                 "checkpoint");
  }
}

ExitCode TrainingRun::run() {
  start_ = Clock::now();
  open();
  print_opening();
  while (trainer_->progress().step < total_steps_) {
    if (stop_requested()) {
      progress_->finish();
      save();
      print_closing("stopped by a signal");
      return ExitCode::kSaved;
    }
    train_one();
  }
  progress_->finish();
  finish();
  return ExitCode::kDone;
}

void TrainingRun::open() {
  memory_ = std::make_unique<ModelMemory>(setup_.model, plan_.shape.format, plan_.planner.buffers());
  device_ = make_device(setup_);
  EngineOptions options = engine_options(setup_);
  options.traces = true;
  engine_ = std::make_unique<StepEngine>(plan_, *memory_, *device_, options);
  trainer_ = std::make_unique<Trainer>(*engine_, trainer_settings(setup_, total_steps_));
  load_state();
  directory_ = create_run_directory(choice_);
  write_effective_config(directory_, setup_.config);
  const int64_t first_step = trainer_->progress().step;
  metrics_ = std::make_unique<MetricsLog>(directory_ / "metrics.jsonl", first_step);
  progress_ = std::make_unique<Progress>(error_console(), setup_.config.logging.logging_steps, first_step);
  auto stream = std::make_shared<TrainingStream>(dataset_.training(), dataset_options(setup_), cursor_);
  loader_ = std::make_unique<Loader>([stream] { return stream->next(); });
}

void TrainingRun::load_state() {
  if (choice_.resume) {
    const CheckpointState state = load_checkpoint(choice_.resume->path, *memory_);
    if (state.compute_dtype != dtype_name(setup_.compute) || state.compute_threads != setup_.compute_threads) {
      spdlog::warn("resumed with {} compute on {} threads, saved with {} on {}: results will differ in rounding",
                   dtype_name(setup_.compute), setup_.compute_threads, state.compute_dtype, state.compute_threads);
    }
    trainer_->restore(state.progress);
    cursor_ = state.cursor;
    durable_ = choice_.resume->path;
    saved_step_ = last_step_ = state.progress.step;
  } else if (!setup_.config.model.model_name_or_path.empty()) {
    load_weights(*memory_, setup_.config.model.model_name_or_path);
  } else {
    WorkerTeam team(setup_.optimizer_threads);
    initialize_weights(*memory_, static_cast<uint64_t>(setup_.config.training.seed), team);
  }
}

void TrainingRun::print_opening() const {
  const TrainingSection& training = setup_.config.training;
  const MemoryPlan memory = memory_plan(plan_, 0);
  const double parameters = static_cast<double>(memory.parameter_count);
  uint64_t checkpoint_bytes = 0;
  for (int layer = 0; layer < memory_->layer_count(); ++layer) {
    checkpoint_bytes += memory_->layer(layer).wire.size() + memory_->layer(layer).state.size();
  }
  std::error_code error;
  const uint64_t free_bytes = fs::space(directory_, error).available;
  spdlog::info("model    {}, {} parameters, all trained", setup_.model.model_type, format_count(parameters));
  spdlog::info("steps    {} to {}, {} tokens each: {} x {} x {}; more accumulation is nearly free, weights cross the "
               "link once per step", trainer_->progress().step + 1, total_steps_, tokens_per_step(setup_),
               training.gradient_accumulation_steps, training.per_device_train_batch_size,
               setup_.config.dataset.max_seq_len);
  spdlog::info("memory   host {} ({:.1f} B per parameter), device {}", format_bytes(memory.host_bytes()),
               static_cast<double>(memory.host_bytes()) / parameters, format_bytes(memory.device_bytes()));
  spdlog::info("device   {}, {} compute on {} threads, optimizer {} on {} threads", device_->description(),
               dtype_name(setup_.compute), setup_.compute_threads, state_format_name(plan_.shape.format),
               setup_.optimizer_threads);
  spdlog::info("run      {}, a checkpoint takes {}, {} free", directory_.string(), format_bytes(checkpoint_bytes),
               format_bytes(error ? 0 : free_bytes));
  if (choice_.resume) spdlog::info("resumed  {}", choice_.resume->path.string());
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
  StepMetrics metrics{.step = report.step, .loss = report.loss, .gradient_norm = report.gradient_norm,
                      .clip_factor = report.clip_factor, .learning_rate = report.learning_rate,
                      .tokens = batch.real_tokens, .trained_tokens = report.trained_tokens,
                      .tokens_per_second = static_cast<double>(batch.real_tokens) / seconds,
                      .step_ms = seconds * 1e3, .data_ms = data_seconds * 1e3, .skipped = report.skipped};
  if (batch.trained_tokens > 0) metrics.lane_ms = lane_milliseconds(*engine_->trace());
  metrics_->append(metrics);
  progress_->update({.step = report.step, .total_steps = total_steps_, .loss = report.loss,
                     .learning_rate = report.learning_rate, .tokens_per_second = metrics.tokens_per_second,
                     .elapsed_seconds = seconds_since(start_), .skipped = report.skipped});
  const int64_t eval_steps = setup_.config.training.eval_steps;
  if (eval_steps > 0 && report.step % eval_steps == 0) evaluate_now();
  if (save_is_due(epoch_before)) save();
}

void TrainingRun::evaluate_now() {
  const int64_t step = trainer_->progress().step;
  if (dataset_.validation().documents->empty() || evaluated_step_ == step) return;
  const EvaluationResult result = evaluate_documents(
      dataset_.validation(), dataset_options(setup_), setup_.config.training.max_eval_tokens,
      [this](std::span<const MicroBatch> batches) { return trainer_->evaluate(batches); });
  metrics_->append(EvaluationMetrics{.step = step, .eval_loss = result.loss, .bits_per_byte = result.bits_per_byte});
  const std::string bits = result.bits_per_byte > 0 ? fmt::format(", {:.4f} bits per byte", result.bits_per_byte) : "";
  spdlog::info("step {}: validation loss {:.4f}{}", step, result.loss, bits);
  evaluated_step_ = step;
}

bool TrainingRun::save_is_due(int64_t epoch_before) const {
  const TrainingSection& training = setup_.config.training;
  switch (training.save_strategy) {
    case SaveStrategy::kNo: return false;
    case SaveStrategy::kSteps: return trainer_->progress().step % training.save_steps == 0;
    case SaveStrategy::kEpoch: return cursor_.epoch != epoch_before;
  }
  return false;
}

void TrainingRun::save() {
  if (saved_step_ == trainer_->progress().step) return;
  trainer_->drain();
  durable_ = save_checkpoint(directory_, *memory_,
                             {.progress = trainer_->progress(),
                              .cursor = cursor_,
                              .compute_dtype = std::string(dtype_name(setup_.compute)),
                              .compute_threads = setup_.compute_threads,
                              .seed = static_cast<uint64_t>(setup_.config.training.seed)});
  saved_step_ = trainer_->progress().step;
  remove_old_checkpoints(directory_, setup_.config.training.save_total_limit);
}

void TrainingRun::finish() {
  trainer_->drain();
  evaluate_now();
  if (setup_.config.training.save_strategy != SaveStrategy::kNo) save();
  const bool bytes = setup_.config.dataset.tokenizer == Tokenizer::kByte;
  const fs::path folder = directory_ / "model";
  export_model(*memory_, folder.string(),
               {.dtype = wire_dtype(plan_.shape.format),
                .tokenizer = bytes ? TokenizerFiles::kBytes : TokenizerFiles::kNone,
                .overwrite = true});
  // The generator needs the device's memory; the host's weights stay.
  trainer_.reset();
  engine_.reset();
  device_.reset();
  if (bytes && setup_.config.generation.max_new_tokens > 0) {
    const std::string& prompt = setup_.config.generation.prompt;
    print_result("--- sample ---");
    print_result(prompt + continue_text(setup_, *memory_, prompt));
    print_result("--- end of sample ---");
  }
  print_result(fmt::format("model    {}", folder.string()));
  print_closing("done");
}

void TrainingRun::print_closing(const std::string& reason) const {
  if (step_seconds_ > 0) {
    print_result(fmt::format("speed    {} in {} of steps, {} in all",
                             format_rate(static_cast<double>(tokens_) / step_seconds_), format_duration(step_seconds_),
                             format_duration(seconds_since(start_))));
  }
  if (durable_.empty()) {
    print_result(fmt::format("{}: step {}, no checkpoint (training.save_strategy: no)", reason, last_step_));
    return;
  }
  print_result(fmt::format("{}: step {}, last checkpoint {}; resume with: {}", reason, last_step_, durable_.string(),
                           resume_command(directory_, program_)));
}

}  // namespace penstock
