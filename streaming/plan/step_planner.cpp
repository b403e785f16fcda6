#include "streaming/plan/step_planner.h"

#include <utility>

#include "core/check.h"
#include "streaming/plan/generation_steps.h"
#include "streaming/plan/step_buffers.h"
#include "streaming/plan/training_steps.h"

namespace penstock {
namespace {

void check_training(const StepSettings& settings) {
  const auto layers = static_cast<size_t>(settings.block_count) + 2;
  CHECK(settings.trained_layers.empty() || settings.trained_layers.size() == layers);
  if (settings.trains_embedding) CHECK(trains(settings, embedding_layer(settings)));
  if (!settings.tied_head) CHECK_EQ(settings.trains_embedding, trains(settings, 0));
  bool any = false;
  for (int layer = 0; layer <= settings.block_count + 1; ++layer) any |= trains(settings, layer);
  CHECK(any);
}

const StepSettings& checked(const StepSettings& settings, const StepBytes& bytes) {
  CHECK_GE(settings.block_count, 1);
  CHECK_GE(settings.micro_batches, 1);
  CHECK_GE(settings.prefetch_depth, 1);
  CHECK_GE(settings.gradient_slots, 1);
  CHECK_EQ(bytes.layers.size(), static_cast<size_t>(settings.block_count) + 2);
  if (settings.purpose == Purpose::kTrain) {
    CHECK_EQ(settings.activations.size(), static_cast<size_t>(settings.block_count));
  }
  if (settings.purpose == Purpose::kGenerate) CHECK_EQ(settings.micro_batches, 1);
  CHECK_GE(settings.head_parts, 1);
  if (settings.purpose == Purpose::kTrain) check_training(settings);
  return settings;
}

bool has_variant(const StepSettings& settings, StepVariant variant) {
  const bool trains = settings.purpose == Purpose::kTrain;
  switch (variant) {
    case StepVariant::kTrain:
      return trains;
    case StepVariant::kTrainPending:
    case StepVariant::kDrain:
      return trains && settings.update == UpdateMode::kDeferred;
    case StepVariant::kEval:
      return settings.purpose != Purpose::kGenerate;
    case StepVariant::kPrefill:
    case StepVariant::kDecode:
      return settings.purpose == Purpose::kGenerate;
  }
  return false;
}

}  // namespace

StepPlanner::StepPlanner(const StepSettings& settings, const StepBytes& bytes)
    : settings_(checked(settings, bytes)), buffers_(build_step_buffers(settings_, bytes)) {}

Schedule StepPlanner::plan(StepVariant variant) const {
  CHECK(has_variant(settings_, variant));
  OpEmitter ops(settings_, buffers_, variant);
  switch (variant) {
    case StepVariant::kTrainPending:
      emit_training_step(ops, true);
      break;
    case StepVariant::kTrain:
      emit_training_step(ops, false);
      break;
    case StepVariant::kDrain:
      emit_drain_step(ops);
      break;
    case StepVariant::kEval:
      emit_evaluation_step(ops);
      break;
    case StepVariant::kPrefill:
      emit_prefill_step(ops);
      break;
    case StepVariant::kDecode:
      emit_decode_step(ops);
      break;
  }
  return std::move(ops).build();
}

}  // namespace penstock
