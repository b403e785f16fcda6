// Wrong schedules that are free of races all the same: find_wrong_contents must see each of them.
#include <gtest/gtest.h>

#include "schedule_edits.h"
#include "step_settings_grid.h"
#include "streaming/plan/schedule_check.h"

namespace penstock {
namespace {

using Steps = std::vector<Schedule>;

std::vector<ScheduleFinding> wrong_contents(const Steps& schedules) {
  std::vector<const Schedule*> steps;
  for (const Schedule& schedule : schedules) steps.push_back(&schedule);
  return find_wrong_contents(steps);
}

std::string first_finding(const Steps& schedules) {
  const std::vector<ScheduleFinding> findings = wrong_contents(schedules);
  return findings.empty() ? "" : findings.front().what;
}

#define EXPECT_SAYS(schedules, part)                                   \
  do {                                                                 \
    const std::string said = first_finding(schedules);                 \
    EXPECT_NE(said.find(part), std::string::npos) << "said: " << said; \
  } while (false)

class SlotContents : public testing::Test {
 protected:
  Schedule plan(StepVariant variant) const { return planner_.plan(variant); }
  BufferIndex buffer(BufferKind kind, int index = 0, int micro_batch = -1) const {
    return planner_.buffers().find(kind, index, micro_batch);
  }
  // The step with one op's buffer exchanged for another.
  Schedule redirected(const Schedule& schedule, const std::string& op, BufferIndex from, BufferIndex to) const {
    const OpIndex index = find_op(schedule, op);
    EXPECT_LT(index, schedule.ops().size()) << op;
    return with_edited_op(schedule, index, [&](Op& edited) { redirect(edited, from, to); });
  }
  Schedule without(const Schedule& schedule, const std::string& op) const {
    return without_op(schedule, find_op(schedule, op));
  }

  StepPlanner planner_ = planner(training(4, 1, 2));
  Schedule train_ = plan(StepVariant::kTrain);
  Schedule pending_ = plan(StepVariant::kTrainPending);
  Schedule drain_ = plan(StepVariant::kDrain);
  Schedule eval_ = plan(StepVariant::kEval);
};

TEST_F(SlotContents, FetchIntoTheWrongSlot) {
  const Schedule wrong =
      redirected(train_, "Fetch(1)", buffer(BufferKind::kWeightSlot, 1), buffer(BufferKind::kWeightSlot, 0));
  EXPECT_SAYS((Steps{wrong}), "Forward(1,m0) [op 8] reads weight_slot(1), which holds nothing yet, not weights of 1");
}

TEST_F(SlotContents, OpReadsTheWrongSlot) {
  const Schedule wrong =
      redirected(train_, "Backward(2,m1)", buffer(BufferKind::kWeightSlot, 0), buffer(BufferKind::kWeightSlot, 1));
  EXPECT_SAYS((Steps{wrong}),
              "reads weight_slot(1), which holds weights of 3 at version 0 of step 0, not weights of 2");
}

// The same steps with wire weights in pieces.
class SlotContentsInPieces : public SlotContents {
 protected:
  SlotContentsInPieces() {
    planner_ = planner(training(4, 1, 2), Wire::kCut);
    train_ = plan(StepVariant::kTrain);
    pending_ = plan(StepVariant::kTrainPending);
    drain_ = plan(StepVariant::kDrain);
    eval_ = plan(StepVariant::kEval);
  }
  BufferIndex piece(int layer, int number) const {
    return planner_.buffers().find_piece(BufferKind::kHostWire, layer, number);
  }
};

void expect_every_op_is_needed(const Steps& sequence) {
  ASSERT_EQ(first_finding(sequence), "");
  for (size_t step = 0; step < sequence.size(); ++step) {
    for (OpIndex op = 0; op < sequence[step].ops().size(); ++op) {
      Steps edited = sequence;
      edited[step] = without_op(sequence[step], op);
      EXPECT_FALSE(wrong_contents(edited).empty())
          << "step " << step << " without " << op_label(sequence[step].ops()[op], 4);
    }
  }
}

// Of the first two steps.
void expect_every_access_is_needed(const Steps& sequence) {
  for (size_t step = 0; step < 2; ++step) {
    for (OpIndex op = 0; op < sequence[step].ops().size(); ++op) {
      for (size_t access = 0; access < sequence[step].ops()[op].accesses.size(); ++access) {
        Steps edited = sequence;
        edited[step] = with_edited_op(sequence[step], op, [&](Op& op_to_edit) {
          op_to_edit.accesses.erase(op_to_edit.accesses.begin() + static_cast<std::ptrdiff_t>(access));
        });
        EXPECT_FALSE(wrong_contents(edited).empty())
            << "step " << step << " " << op_label(sequence[step].ops()[op], 4) << " access " << access;
      }
    }
  }
}

TEST_F(SlotContents, AnySingleOpLeftOutOfASequenceIsNoticed) {
  expect_every_op_is_needed({train_, pending_, drain_, eval_, train_});
}

TEST_F(SlotContents, AnySingleAccessLeftOutIsNoticed) { expect_every_access_is_needed({train_, pending_, eval_}); }

TEST_F(SlotContentsInPieces, EveryOpAndAccessIsNeeded) {
  expect_every_op_is_needed({train_, pending_, pending_, drain_, eval_, train_});
  expect_every_access_is_needed({train_, pending_, pending_, drain_, eval_});
}

TEST_F(SlotContentsInPieces, PiecesOutOfOrderOrOfAnotherLayer) {
  const auto exchanged = [&](const std::string& op, int layer, int from, int to) {
    return redirected(pending_, op, piece(layer, from), piece(layer, to));
  };
  EXPECT_SAYS((Steps{train_, exchanged("Fetch(1:1)", 2, 1, 2)}), "Fetch(1:1)");
  EXPECT_SAYS((Steps{train_, exchanged("Update(1:1)", 2, 1, 0)}), "Update(1:1)");
  EXPECT_SAYS((Steps{train_, exchanged("Embed(m0)", 0, kHotRows, kColdRows)}), "Embed(m0)");
  EXPECT_SAYS((Steps{train_, without(pending_, "Fetch(1:2)")}),
              "Fetch(1:3) [op 19] reads weight_slot(1), which holds weights of 1, piece 1");
  EXPECT_SAYS((Steps{train_, without(pending_, "Update(E:cold)")}), "leaves layers at different versions");
}

// Every access pointed at every other buffer of its kind. Scratch and places that hold the very same bytes excepted.
TEST_F(SlotContents, AnyReadOfAnotherBufferOfTheKindIsNoticed) {
  const BufferTable& buffers = planner_.buffers();
  size_t edits = 0;
  for (OpIndex op = 0; op < train_.ops().size(); ++op) {
    for (const Access& access : train_.ops()[op].accesses) {
      if (access.mode == Mode::kWrite) continue;
      for (BufferIndex other = 0; other < buffers.size(); ++other) {
        if (other == access.buffer || buffers[other].kind != buffers[access.buffer].kind) continue;
        if (train_.ops()[op].kind == OpKind::kDecide || train_.ops()[op].kind == OpKind::kScatterEmbed) continue;
        const Schedule wrong = with_edited_op(train_, op, [&](Op& edited) {
          for (Access& candidate : edited.accesses) {
            if (candidate == access) candidate.buffer = other;
          }
        });
        ++edits;
        EXPECT_FALSE(wrong_contents({wrong}).empty())
            << op_label(train_.ops()[op], 4) << " reads " << buffer_label(buffers[other], 4);
      }
    }
  }
  EXPECT_GT(edits, 300u);
}

TEST_F(SlotContents, WeightsWithAPendingUpdateMayNotBeRead) {
  EXPECT_SAYS(
      (Steps{train_, eval_}),
      "step 1 (eval): Embed(m0) [op 0] reads wire(E), which holds weights of E at version 0, not weights of E at "
      "version 1");
  EXPECT_SAYS((Steps{train_, train_}), "step 1 (train): Embed(m0)");
  EXPECT_SAYS((Steps{train_, pending_, eval_}), "step 2 (eval): Embed(m0)");
  EXPECT_EQ(first_finding({train_, drain_, eval_, train_}), "");
}

TEST_F(SlotContents, AnUpdateHappensOnce) {
  EXPECT_SAYS((Steps{train_, drain_, drain_}),
              "step 2 (drain): Update(E) [op 0] reads wire(E), which holds weights of E");
  EXPECT_SAYS((Steps{train_, drain_, pending_}), "step 2 (train-pending): Update(E)");
  EXPECT_SAYS((Steps{drain_}), "reads decision, which holds nothing yet");
  EXPECT_SAYS((Steps{pending_}), "reads decision, which holds nothing yet");
  EXPECT_SAYS((Steps{eval_, drain_}), "reads decision, which holds nothing yet");
}

TEST_F(SlotContents, AMissingUpdateIsSeenEvenAtTheEnd) {
  EXPECT_SAYS((Steps{train_, without(drain_, "Update(2)")}),
              "step 1 (drain): leaves layers at different versions: E 1, 2 0");
  EXPECT_SAYS((Steps{train_, without(drain_, "Update(E)")}), "leaves E at version 0, not 1");
  EXPECT_SAYS((Steps{train_, without(pending_, "Update(2)")}), "Fetch(2)");
}

TEST_F(SlotContents, GradientOfAnotherLayerOrStep) {
  const Schedule other_layer =
      redirected(train_, "Offload(2)", buffer(BufferKind::kWireStaging, 1), buffer(BufferKind::kWireStaging, 0));
  EXPECT_SAYS((Steps{other_layer}), "Offload(2)");
  EXPECT_SAYS((Steps{other_layer}),
              "which holds gradient of 3 up to m1 of step 0, not gradient of 2 up to m1 of step 0");
  EXPECT_SAYS(
      (Steps{train_, without(pending_, "Offload(2)")}),
      "Norm(2) [op 37] reads host_gradient(2), which holds gradient of 2 up to m1 of step 0, not gradient of 2 up "
      "to m1 of step 1");
}

TEST_F(SlotContents, AccumulationOverwritesFirstAndAddsLater) {
  const OpIndex first = find_op(train_, "Backward(3,m0)");
  const BufferIndex slot = buffer(BufferKind::kGradientSlot, 0);
  const Schedule adds = with_edited_op(train_, first, [&](Op& op) { op.accesses.push_back({slot, Mode::kRead}); });
  EXPECT_SAYS((Steps{adds}), "Backward(3,m0) [op 23] has no use for reading gradient_slot(0)");
  const Schedule loses = with_edited_op(train_, find_op(train_, "Backward(3,m1)"), [&](Op& op) {
    std::erase(op.accesses, Access{slot, Mode::kRead});
  });
  EXPECT_SAYS((Steps{loses}), "reads no gradient_slot with gradient of 3 up to m0");
}

TEST_F(SlotContents, ActivationsOfAnotherMicroBatchOrLayer) {
  const Schedule other_batch =
      redirected(train_, "Forward(1,m1)", buffer(BufferKind::kActivation, 1, 1), buffer(BufferKind::kActivation, 1, 0));
  EXPECT_SAYS((Steps{other_batch}), "which holds output of 0 for m0 of step 0, not output of 0 for m1 of step 0");
  const Schedule other_layer = redirected(train_, "Backward(2,m0)", buffer(BufferKind::kActivation, 2, 0),
                                          buffer(BufferKind::kActivation, 3, 0));
  EXPECT_SAYS((Steps{other_layer}), "which holds output of 2 for m0 of step 0, not output of 1 for m0");
}

TEST_F(SlotContents, ActivationsOfTheStepBeforeAreStale) {
  Steps steps = {train_, pending_};
  steps[1] = without(pending_, "FetchEmbed(m1)");
  EXPECT_SAYS(steps, "which holds output of E for m1 of step 0, not output of E for m1 of step 1");
}

TEST_F(SlotContents, EagerUpdatesAllOrNothing) {
  StepSettings settings = training(4, 1, 1);
  settings.update = UpdateMode::kEager;
  const Schedule eager = planner(settings).plan(StepVariant::kTrain);
  ASSERT_EQ(first_finding({eager, eager}), "");
  EXPECT_SAYS((Steps{without(eager, "Update(2)")}), "leaves layers at different versions: E 1, 2 0");
  const OpIndex norm = find_op(eager, "Norm(2)");
  EXPECT_SAYS((Steps{without_op(eager, norm)}), "Decide");
}

TEST_F(SlotContents, GenerationFollowsItsTokensAndItsCache) {
  StepSettings settings;
  settings.purpose = Purpose::kGenerate;
  settings.block_count = 3;
  const StepPlanner generation = planner(settings);
  const Schedule prefill = generation.plan(StepVariant::kPrefill);
  const Schedule decode = generation.plan(StepVariant::kDecode);
  ASSERT_EQ(first_finding({prefill, decode, decode, prefill, decode}), "");
  EXPECT_SAYS((Steps{decode}), "Embed(m0) [op 0] reads host_tokens, which holds nothing yet");
  EXPECT_SAYS((Steps{without(prefill, "Sample"), decode}), "ends without its closing op");
  EXPECT_SAYS((Steps{prefill, without(decode, "Decode(1,m0)"), decode}), "Decode(2,m0)");
  Schedule other = with_edited_op(decode, find_op(decode, "Decode(1,m0)"), [&](Op& op) {
    redirect(op, generation.buffers().find(BufferKind::kKvCache, 2),
             generation.buffers().find(BufferKind::kKvCache, 1));
  });
  EXPECT_SAYS((Steps{prefill, other}), "which holds KV cache of 0 at version 2, not KV cache of 1 at version 1");
}

TEST_F(SlotContents, ReportsAtMostTwenty) {
  std::vector<Op> none;
  for (Op op : train_.ops()) {
    op.accesses.clear();
    op.waits.clear();
    none.push_back(op);
  }
  EXPECT_EQ(wrong_contents({with_ops(train_, none)}).size(), 20u);
}

}  // namespace
}  // namespace penstock
