// Training steps one after the other: which variant comes next, which learning rate, what to do with a decision.
// Wiring, not work: there is no loop over layers here, the engine runs the schedule.
// Invariant: between calls the host's state is whole: that of the last applied step, plus at most one pending update.
// When a step throws, drain() still makes it whole: what the step had not yet applied of the pending update follows.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "optim/learning_rate.h"
#include "streaming/step_engine.h"

namespace penstock {

struct TrainerSettings {
  LearningRateSettings learning_rate;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0;
  double max_grad_norm = 1;  // 0: no clipping
  uint64_t seed = 0;         // of stochastic rounding, in the formats that have it
};

// What a checkpoint needs to continue.
struct TrainerProgress {
  int64_t step = 0;          // steps finished, skipped ones included
  int64_t update_count = 0;  // updates applied: bias correction counts these
  bool operator==(const TrainerProgress&) const = default;
};

struct StepReport {
  int64_t step = 0;  // 1 for the first
  double loss = 0;
  double gradient_norm = 0;
  double clip_factor = 1;
  double learning_rate = 0;
  int64_t trained_tokens = 0;
  bool skipped = false;  // nothing was trained: no trained tokens, or a non-finite loss or gradient
};

struct LossSums {
  double loss_sum = 0;  // nats
  int64_t trained_tokens = 0;
};

// A run stops with Error(kNumericStop) after this many non-finite steps in a row: each one means a lost step, a series
// of them that training has diverged.
inline constexpr int kMaxSkippedInRow = 5;

class Trainer {
 public:
  // The engine's purpose is kTrain.
  Trainer(StepEngine& engine, const TrainerSettings& settings);

  // One step. A batch without trained tokens runs no forward and is reported as skipped.
  StepReport step(const StepBatch& batch);

  // Applies the pending update, if any. Needed before weights are read: evaluation, save, export, the end.
  void drain();

  // Sum over one step's micro-batches, forward only; drains first.
  LossSums evaluate(std::span<const MicroBatch> batches);

  TrainerProgress progress() const { return progress_; }
  void restore(const TrainerProgress& progress);

 private:
  AdamWStep update_of(int64_t step, int64_t update_count) const;
  void take_decision(const Decision& decision, double learning_rate, StepReport& report);

  StepEngine& engine_;
  TrainerSettings settings_;
  bool eager_;
  TrainerProgress progress_;
  std::optional<AdamWStep> pending_;
  uint64_t update_id_ = 1;  // of the pending update, or of this step's where updates are eager
  int skipped_in_row_ = 0;
};

// The same for an engine of any purpose; the caller has drained.
LossSums evaluate(StepEngine& engine, std::span<const MicroBatch> batches);

}  // namespace penstock
