// Every schedule of the grid is free of races, alone and at every join, and every slot read finds what it expects.
#include "streaming/plan/step_planner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "model_grid.h"
#include "schedule_edits.h"
#include "step_settings_grid.h"
#include "streaming/plan/schedule_check.h"

namespace penstock {
namespace {

std::string text_of(const std::vector<ScheduleFinding>& findings) {
  std::string text;
  for (const ScheduleFinding& finding : findings) text += finding.what + "\n";
  return text;
}

// Which variant may follow which. After a skipped update a training step is followed by kTrain or kEval directly.
std::vector<std::pair<StepVariant, StepVariant>> possible_joins(const StepSettings& settings) {
  using enum StepVariant;
  switch (settings.purpose) {
    case Purpose::kEval:
      return {{kEval, kEval}};
    case Purpose::kGenerate:
      return {{kPrefill, kDecode}, {kDecode, kDecode}, {kDecode, kPrefill}, {kPrefill, kPrefill}};
    case Purpose::kTrain:
      break;
  }
  if (settings.update == UpdateMode::kEager)
    return {{kTrain, kTrain}, {kTrain, kEval}, {kEval, kTrain}, {kEval, kEval}};
  return {{kTrain, kTrainPending}, {kTrain, kDrain},        {kTrain, kTrain},       {kTrain, kEval},
          {kTrainPending, kDrain}, {kTrainPending, kTrain}, {kTrainPending, kEval}, {kTrainPending, kTrainPending},
          {kDrain, kTrain},        {kDrain, kEval},         {kEval, kTrain},        {kEval, kEval}};
}

std::vector<std::string> lane_labels(const Schedule& schedule, LaneKind lane) {
  std::vector<std::string> labels;
  for (const OpIndex op : schedule.lane(lane)) labels.push_back(op_label(schedule.ops()[op], schedule.block_count()));
  return labels;
}

using Labels = std::vector<std::string>;

TEST(StepPlanner, NoRacesInAnyStepOrAtAnyJoin) {
  for (const auto& [settings, wire] : whole_and_cut_grid()) {
    SCOPED_TRACE(describe(settings, wire));
    const StepPlanner plan = planner(settings, wire);
    std::map<StepVariant, Schedule> schedules;
    for (const StepVariant variant : variants_of(settings)) schedules.emplace(variant, plan.plan(variant));
    for (const auto& [variant, schedule] : schedules) ASSERT_EQ(text_of(find_races(schedule)), "");
    for (const auto& [first, second] : possible_joins(settings)) {
      ASSERT_EQ(text_of(find_join_races(schedules.at(first), schedules.at(second))), "")
          << step_variant_name(first) << " then " << step_variant_name(second);
    }
  }
}

TEST(StepPlanner, EverySlotReadFindsItsLayerAndVersion) {
  using enum StepVariant;
  const std::vector<StepVariant> deferred = {kEval,  kTrain, kTrainPending, kTrainPending, kDrain,
                                             kEval,  kEval,  kTrain,        kDrain,        kTrain,
                                             kDrain, kTrain, kTrainPending, kDrain,        kEval};
  const std::vector<StepVariant> eager = {kEval, kTrain, kTrain, kEval, kTrain};
  const std::vector<StepVariant> generation = {kPrefill, kDecode, kDecode, kPrefill, kDecode};
  for (const auto& [settings, wire] : whole_and_cut_grid()) {
    SCOPED_TRACE(describe(settings, wire));
    const StepPlanner plan = planner(settings, wire);
    std::vector<StepVariant> order = settings.update == UpdateMode::kEager ? eager : deferred;
    if (settings.purpose == Purpose::kEval) order = {kEval, kEval};
    if (settings.purpose == Purpose::kGenerate) order = generation;
    std::vector<Schedule> schedules;
    for (const StepVariant variant : order) schedules.push_back(plan.plan(variant));
    std::vector<const Schedule*> steps;
    for (const Schedule& schedule : schedules) steps.push_back(&schedule);
    ASSERT_EQ(text_of(find_wrong_contents(steps)), "");
  }
}

TEST(StepPlanner, LanesOfAPendingStep) {
  const Schedule schedule = planner(training(3, 1, 2)).plan(StepVariant::kTrainPending);
  EXPECT_EQ(lane_labels(schedule, LaneKind::kHost),
            (Labels{"Update(E)", "Embed(m0)", "Embed(m1)", "Update(0)", "Update(1)", "Update(2)", "Update(H)",
                    "Norm(H)", "Norm(2)", "Norm(1)", "Norm(0)", "ScatterEmbed", "Norm(E)", "Decide"}));
  EXPECT_EQ(lane_labels(schedule, LaneKind::kFetch),
            (Labels{"FetchEmbed(m0)", "FetchEmbed(m1)", "Fetch(0)", "Fetch(1)", "Fetch(2)", "Fetch(H)", "Fetch(0)"}));
  EXPECT_EQ(lane_labels(schedule, LaneKind::kCompute),
            (Labels{"Forward(0,m0)", "Forward(0,m1)", "Forward(1,m0)", "Forward(1,m1)", "Forward(2,m0)",
                    "Forward(2,m1)", "Loss(m0)", "Loss(m1)", "Pack(H)", "Backward(2,m0)", "Backward(2,m1)", "Pack(2)",
                    "Backward(1,m0)", "Backward(1,m1)", "Pack(1)", "Backward(0,m0)", "Backward(0,m1)", "Pack(0)"}));
  EXPECT_EQ(lane_labels(schedule, LaneKind::kOffload), (Labels{"OffloadLoss", "Offload(H)", "Offload(2)", "Offload(1)",
                                                               "Offload(0)", "OffloadEmbed(m0)", "OffloadEmbed(m1)"}));
}

// Update and fetch of a layer chase each other piece by piece; the embedding's rows that no token names come last.
TEST(StepPlanner, LanesOfAPendingStepInPieces) {
  const Schedule schedule = planner(training(2, 1, 2), Wire::kCut).plan(StepVariant::kTrainPending);
  EXPECT_EQ(lane_labels(schedule, LaneKind::kHost),
            (Labels{"Update(E:hot)", "Embed(m0)",   "Embed(m1)",    "Update(0:0)",    "Update(0:1)",
                    "Update(0:2)",   "Update(1:0)", "Update(1:1)",  "Update(1:2)",    "Update(1:3)",
                    "Update(H:0)",   "Update(H:1)", "Update(H:2)",  "Update(E:cold)", "Norm(H)",
                    "Norm(1)",       "Norm(0)",     "ScatterEmbed", "Norm(E)",        "Decide"}));
  EXPECT_EQ(lane_labels(schedule, LaneKind::kFetch),
            (Labels{"FetchEmbed(m0)", "FetchEmbed(m1)", "Fetch(0:0)", "Fetch(0:1)", "Fetch(0:2)", "Fetch(1:0)",
                    "Fetch(1:1)", "Fetch(1:2)", "Fetch(1:3)", "Fetch(H:0)", "Fetch(H:1)", "Fetch(H:2)"}));
  const auto op = [&](const char* label) { return schedule.ops()[find_op(schedule, label)]; };
  EXPECT_EQ(op("Fetch(1:1)").waits, std::vector{find_op(schedule, "Update(1:1)")});
  EXPECT_EQ(op("Forward(1,m0)").waits, std::vector{find_op(schedule, "Fetch(1:3)")});
  // The embedding's cold rows hold nobody up but the next scatter, which is on their own lane.
  for (const Op& other : schedule.ops()) {
    for (const OpIndex wait : other.waits) EXPECT_NE(wait, find_op(schedule, "Update(E:cold)")) << op_label(other, 2);
  }
}

TEST(StepPlanner, ATiedHeadsColdRowsComeBeforeItsFetch) {
  StepSettings settings = training(1, 1, 1);
  settings.tied_head = true;
  const Schedule schedule = planner(settings, Wire::kCut).plan(StepVariant::kTrainPending);
  EXPECT_EQ(lane_labels(schedule, LaneKind::kHost),
            (Labels{"Update(H:hot)", "Embed(m0)", "Update(0:0)", "Update(0:1)", "Update(0:2)", "Update(H:cold)",
                    "Norm(0)", "ScatterEmbed", "Norm(H)", "Decide"}));
  EXPECT_EQ(schedule.ops()[find_op(schedule, "Fetch(H)")].waits, std::vector{find_op(schedule, "Update(H:cold)")});
}

// Pieces exist for a deferred update under the next forward; a drain takes layers whole, and nothing else is cut.
TEST(StepPlanner, OnlyDeferredUpdatesCutAnything) {
  StepSettings settings = training(2, 1, 1);
  const StepPlanner deferred = planner(settings, Wire::kCut);
  EXPECT_EQ(lane_labels(deferred.plan(StepVariant::kDrain), LaneKind::kHost),
            (Labels{"Update(E)", "Update(0)", "Update(1)", "Update(H)"}));
  EXPECT_EQ(lane_labels(deferred.plan(StepVariant::kTrain), LaneKind::kFetch),
            lane_labels(planner(settings).plan(StepVariant::kTrain), LaneKind::kFetch));
  settings.update = UpdateMode::kEager;
  EXPECT_TRUE(planner(settings, Wire::kCut).buffers() == planner(settings).buffers());
  StepSettings evaluates;
  evaluates.purpose = Purpose::kEval;
  EXPECT_TRUE(planner(evaluates, Wire::kCut).buffers() == planner(evaluates).buffers());
  const StepSettings frozen = with_trained(training(2, 1, 1), 0b0100);
  const StepPlanner partly = planner(frozen, Wire::kCut);
  for (const Buffer& buffer : partly.buffers().all()) {
    EXPECT_TRUE(buffer.piece == kWholeLayer || buffer.index == 2) << buffer_label(buffer, 2);
  }
}

TEST(StepPlanner, EagerUpdatesFollowTheirNormsInTheSameStep) {
  StepSettings settings = training(3, 1, 1);
  settings.update = UpdateMode::kEager;
  EXPECT_EQ(lane_labels(planner(settings).plan(StepVariant::kTrain), LaneKind::kHost),
            (Labels{"Embed(m0)", "Norm(H)", "Update(H)", "Norm(2)", "Update(2)", "Norm(1)", "Update(1)", "Norm(0)",
                    "Update(0)", "ScatterEmbed", "Norm(E)", "Update(E)", "Decide"}));
}

// A frozen layer streams and nothing else: no state, gradient, offload, norm or update; backward ends above it.
TEST(StepPlanner, FrozenLayersHaveNoOpButFetchForwardAndBackward) {
  for (const StepSettings& settings : model_grid()) {
    if (settings.purpose != Purpose::kTrain) continue;
    SCOPED_TRACE(describe(settings));
    const Schedule schedule = planner(settings).plan(
        settings.update == UpdateMode::kEager ? StepVariant::kTrain : StepVariant::kTrainPending);
    const int head = settings.block_count + 1;
    int lowest = head;  // layer whose input gradient nobody needs
    for (int layer = head; layer >= 1; --layer) lowest = settings.trained_layers[size_t(layer)] ? layer : lowest;
    if (settings.trains_embedding) lowest = 0;
    for (const Op& op : schedule.ops()) {
      const std::string label = op_label(op, settings.block_count);
      const bool frozen = op.layer >= 0 && settings.trained_layers[static_cast<size_t>(op.layer)] == 0;
      const bool moves_state = op.kind == OpKind::kUpdate || op.kind == OpKind::kNorm || op.kind == OpKind::kPack ||
                               op.kind == OpKind::kOffload;
      EXPECT_FALSE(frozen && moves_state) << label;
      EXPECT_FALSE(op.kind == OpKind::kBackward && op.layer < lowest) << label;
      const bool of_embedding = op.kind == OpKind::kScatterEmbed || op.kind == OpKind::kOffloadEmbed;
      EXPECT_FALSE(of_embedding && !settings.trains_embedding) << label;
    }
    for (const Buffer& buffer : schedule.buffers().all()) {
      if (buffer.kind != BufferKind::kHostState && buffer.kind != BufferKind::kNorm) continue;
      EXPECT_TRUE(settings.trained_layers[static_cast<size_t>(buffer.index)]) << buffer_label(buffer, head - 1);
    }
  }
}

// A tied head crosses the link once for both of its uses, and its one gradient takes the embedding's rows last.
TEST(StepPlanner, ATiedHeadIsUpdatedFirstAndTakesTheEmbeddingsRows) {
  StepSettings settings = training(2, 1, 1);
  settings.tied_head = true;
  const Schedule schedule = planner(settings).plan(StepVariant::kTrainPending);
  EXPECT_EQ(lane_labels(schedule, LaneKind::kHost),
            (Labels{"Update(H)", "Embed(m0)", "Update(0)", "Update(1)", "Norm(1)", "Norm(0)", "ScatterEmbed", "Norm(H)",
                    "Decide"}));
  EXPECT_FALSE(schedule.buffers().contains(BufferKind::kHostWire, 0));
  const Op& scatter = schedule.ops()[find_op(schedule, "ScatterEmbed")];
  const Access shared{schedule.buffers().find(BufferKind::kHostGradient, 3), Mode::kRead};
  EXPECT_NE(std::find(scatter.accesses.begin(), scatter.accesses.end(), shared), scatter.accesses.end());
}

// K parts of the head are fetched twice less the two that are still there at the turn-around.
TEST(StepPlanner, PartsOfTheHeadAreFetchedForBothPasses) {
  StepSettings settings = training(2, 1, 2);
  for (const int parts : {2, 3, 7}) {
    settings.head_parts = parts;
    const Schedule schedule = planner(settings).plan(StepVariant::kTrain);
    size_t fetches = 0;
    for (const Op& op : schedule.ops()) fetches += op.kind == OpKind::kFetch && op.layer == 3 ? 1 : 0;
    EXPECT_EQ(fetches, static_cast<size_t>(2 * parts - 2));
  }
}

// Weights cross the link twice a step less the blocks still in their slots at the turn-around, whatever M is.
TEST(StepPlanner, FetchesPerStepDoNotDependOnMicroBatches) {
  for (const StepSettings& settings : training_grid()) {
    const Schedule schedule = planner(settings).plan(StepVariant::kTrain);
    size_t fetches = 0;
    for (const Op& op : schedule.ops()) fetches += op.kind == OpKind::kFetch ? 1 : 0;
    const int slots = std::min(settings.prefetch_depth + 1, settings.block_count);
    EXPECT_EQ(fetches, static_cast<size_t>(2 * settings.block_count - slots + 1)) << describe(settings);
  }
}

// A fetch runs ahead of compute by the prefetch depth: Fetch(l) waits for the last use of its slot, nothing later.
TEST(StepPlanner, FetchWaitsOnlyForTheLastUseOfItsSlot) {
  const Schedule schedule = planner(training(5, 2, 2)).plan(StepVariant::kTrain);
  const Op& fetch = schedule.ops()[find_op(schedule, "Fetch(3)")];
  ASSERT_EQ(fetch.waits.size(), 1u);
  EXPECT_EQ(fetch.waits[0], find_op(schedule, "Forward(0,m1)"));
  const OpIndex backward_fetch = find_op(schedule, "Fetch(1)", find_op(schedule, "Loss(m0)"));
  ASSERT_LT(backward_fetch, schedule.ops().size());
  ASSERT_EQ(schedule.ops()[backward_fetch].waits.size(), 1u);
  EXPECT_EQ(schedule.ops()[backward_fetch].waits[0], find_op(schedule, "Backward(4,m1)"));
}

TEST(StepPlanner, DeferredUpdateRunsUnderTheForward) {
  const Schedule schedule = planner(training(4, 1, 1)).plan(StepVariant::kTrainPending);
  const Op& fetch = schedule.ops()[find_op(schedule, "Fetch(1)")];
  ASSERT_EQ(fetch.waits.size(), 1u);
  EXPECT_EQ(fetch.waits[0], find_op(schedule, "Update(1)"));
  for (const OpIndex op : schedule.lane(LaneKind::kHost)) {
    const Op& update = schedule.ops()[op];
    EXPECT_TRUE(update.kind != OpKind::kUpdate || update.waits.empty()) << op_label(update, 4);
  }
}

TEST(StepPlanner, TablesHoldOnlyWhatThePurposeNeeds) {
  StepSettings settings = training(5, 2, 2);
  const BufferTable trains = planner(settings).buffers();
  EXPECT_TRUE(trains.contains(BufferKind::kActivation, 5, 1));
  EXPECT_FALSE(trains.contains(BufferKind::kWeightSlot, 3));
  EXPECT_TRUE(trains.contains(BufferKind::kWeightSlot, 2));
  EXPECT_TRUE(trains.contains(BufferKind::kSaved, 1, 0));
  EXPECT_FALSE(trains.contains(BufferKind::kSaved, 2, 0));
  EXPECT_FALSE(trains.contains(BufferKind::kLogits));

  settings.purpose = Purpose::kEval;
  const BufferTable evaluates = planner(settings).buffers();
  EXPECT_TRUE(evaluates.contains(BufferKind::kActivation, 1, 1));
  EXPECT_FALSE(evaluates.contains(BufferKind::kActivation, 2, 0));
  for (const Buffer& buffer : evaluates.all()) {
    EXPECT_NE(buffer.kind, BufferKind::kHostState);
    EXPECT_NE(buffer.kind, BufferKind::kHostGradient);
    EXPECT_NE(buffer.kind, BufferKind::kNorm);
    EXPECT_NE(buffer.kind, BufferKind::kDecision);
    EXPECT_NE(buffer.kind, BufferKind::kGradientSlot);
    EXPECT_NE(buffer.kind, BufferKind::kActivationGradient);
  }

  settings.purpose = Purpose::kGenerate;
  settings.micro_batches = 1;
  const BufferTable generates = planner(settings).buffers();
  EXPECT_TRUE(generates.contains(BufferKind::kKvCache, 5));
  EXPECT_FALSE(generates.contains(BufferKind::kLoss));
  EXPECT_EQ(generates[generates.find(BufferKind::kHostTokens)].bytes, 16u);
}

TEST(StepPlanner, EagerBlocksShareARingOfHostGradients) {
  StepSettings settings = training(6, 1, 1);
  settings.update = UpdateMode::kEager;
  settings.gradient_slots = 2;
  const BufferTable buffers = planner(settings).buffers();
  size_t gradients = 0;
  for (const Buffer& buffer : buffers.all()) gradients += buffer.kind == BufferKind::kHostGradient ? 1 : 0;
  EXPECT_EQ(gradients, 2u + 3u);  // embedding, head, and gradient_slots + 1 for the blocks
  EXPECT_TRUE(buffers.contains(BufferKind::kHostGradient, 3));
  EXPECT_TRUE(buffers.contains(BufferKind::kHostGradient, 7));
  settings.update = UpdateMode::kDeferred;
  EXPECT_TRUE(planner(settings).buffers().contains(BufferKind::kHostGradient, 6));
}

TEST(StepPlanner, WithoutPackingThereIsNoWireStaging) {
  StepSettings settings = training(2, 1, 1);
  settings.packs_gradients = false;
  const Schedule schedule = planner(settings).plan(StepVariant::kTrain);
  EXPECT_EQ(find_op(schedule, "Pack(H)"), schedule.ops().size());
  EXPECT_FALSE(schedule.buffers().contains(BufferKind::kHeadWireStaging));
  EXPECT_FALSE(schedule.buffers().contains(BufferKind::kWireStaging));
  EXPECT_EQ(schedule.ops()[find_op(schedule, "Offload(1)")].accesses.front().buffer,
            schedule.buffers().find(BufferKind::kGradientSlot, 0));
}

TEST(StepPlanner, TwoHundredBlocksAndEightMicroBatches) {
  StepSettings settings = training(200, 3, 8);
  settings.activations = policies(200, 0);
  const StepPlanner plan = planner(settings);
  const Schedule train = plan.plan(StepVariant::kTrain);
  const Schedule pending = plan.plan(StepVariant::kTrainPending);
  EXPECT_GT(pending.ops().size(), 3000u);
  EXPECT_EQ(text_of(find_join_races(train, pending)), "");
  EXPECT_EQ(text_of(find_join_races(pending, pending)), "");
  EXPECT_EQ(text_of(find_wrong_contents({&train, &pending, &pending})), "");
}

TEST(StepPlannerDeathTest, RefusesVariantsThePurposeDoesNotHave) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  StepSettings settings = training(2, 1, 1);
  settings.update = UpdateMode::kEager;
  const StepPlanner eager = planner(settings);
  EXPECT_DEATH(eager.plan(StepVariant::kDrain), "check failed");
  EXPECT_DEATH(eager.plan(StepVariant::kPrefill), "check failed");
  settings.activations.pop_back();
  EXPECT_DEATH(planner(settings), "check failed");
}

}  // namespace
}  // namespace penstock
