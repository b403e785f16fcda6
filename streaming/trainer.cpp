#include "streaming/trainer.h"

#include "core/check.h"
#include "core/error.h"
#include "streaming/host_handlers.h"

namespace penstock {

Trainer::Trainer(StepEngine& engine, const TrainerSettings& settings)
    : engine_(engine), settings_(settings), eager_(engine.plan().planner.settings().update == UpdateMode::kEager) {
  CHECK(engine.plan().planner.settings().purpose == Purpose::kTrain);
  CHECK(!eager_ || settings.max_grad_norm == 0);
}

AdamWStep Trainer::update_of(int64_t step, int64_t update_count) const {
  return {.learning_rate = learning_rate_at(settings_.learning_rate, step),
          .beta1 = settings_.beta1,
          .beta2 = settings_.beta2,
          .eps = settings_.eps,
          .weight_decay = settings_.weight_decay,
          .update_count = update_count,
          .gradient_scale = 1,
          .seed = settings_.seed};
}

StepReport Trainer::step(const StepBatch& batch) {
  const AdamWStep update = update_of(progress_.step, progress_.update_count + 1);
  StepReport report{
      .step = progress_.step + 1, .learning_rate = update.learning_rate, .trained_tokens = batch.trained_tokens};
  if (batch.trained_tokens == 0) {
    report.skipped = true;
    ++progress_.step;
    return report;
  }
  StepInputs inputs{batch.micro_batches, batch.trained_tokens, update, update_id_, settings_.max_grad_norm};
  if (pending_) inputs.update = *pending_;
  engine_.run(pending_ ? StepVariant::kTrainPending : StepVariant::kTrain, inputs);
  pending_.reset();
  ++update_id_;
  const auto decision = engine_.host_bytes(BufferKind::kDecision);
  take_decision(*reinterpret_cast<const Decision*>(decision.data()), update.learning_rate, report);
  if (!report.skipped) {
    ++progress_.update_count;
    if (!eager_) pending_ = update;
  }
  ++progress_.step;
  return report;
}

void Trainer::take_decision(const Decision& decision, double learning_rate, StepReport& report) {
  report.loss = decision.loss;
  report.gradient_norm = decision.gradient_norm;
  report.clip_factor = static_cast<double>(decision.clip_factor);
  report.skipped = decision.verdict == Verdict::kSkip;
  skipped_in_row_ = report.skipped ? skipped_in_row_ + 1 : 0;
  if (!report.skipped) return;
  const std::string what = "step " + std::to_string(report.step) + ": loss or gradient is not finite (learning rate " +
                           std::to_string(learning_rate) + ")";
  if (eager_) {
    throw Error(ExitCode::kNumericStop, what +
                                            "; optimizer.update eager has applied parts of it: resume from the last "
                                            "checkpoint");
  }
  if (skipped_in_row_ < kMaxSkippedInRow) return;
  throw Error(ExitCode::kNumericStop, what + ", for " + std::to_string(kMaxSkippedInRow) +
                                          " steps in a row; lower training.learning_rate or check the data");
}

void Trainer::drain() {
  if (!pending_) return;
  engine_.run(StepVariant::kDrain, {.update = *pending_, .update_id = update_id_});
  pending_.reset();
  ++update_id_;
}

LossSums Trainer::evaluate(std::span<const MicroBatch> batches) {
  drain();
  return penstock::evaluate(engine_, batches);
}

void Trainer::restore(const TrainerProgress& progress) {
  CHECK(!pending_);
  progress_ = progress;
}

LossSums evaluate(StepEngine& engine, std::span<const MicroBatch> batches) {
  CHECK_EQ(std::ssize(batches), engine.plan().planner.settings().micro_batches);
  StepInputs inputs{.micro_batches = batches};
  for (const MicroBatch& batch : batches) inputs.trained_tokens += batch.trained_tokens;
  engine.run(StepVariant::kEval, inputs);
  return {loss_sum(engine.host_bytes(BufferKind::kHostLoss), batches.size()), inputs.trained_tokens};
}

}  // namespace penstock
