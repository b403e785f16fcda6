// What a trainer does with steps that train nothing, that are not finite, or that fail half-way.
#include "streaming/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "core/error.h"
#include "core/host_device.h"
#include "tiny_run.h"

namespace penstock {
namespace {

// Counts ops, and throws at one of them when armed.
class Watcher final : public IssueObserver {
 public:
  bool before_ticket(const Op&, OpIndex) override { return true; }
  void before_run(const Op& op) override {
    const std::lock_guard lock(mutex_);
    ++count_;
    const bool fails = op.kind == failing_ && op.layer == failing_layer_ && op.piece == failing_piece_;
    if (fails) throw Error(ExitCode::kDevice, "the device is lost");
  }
  void fail_at(OpKind kind, int layer, int piece = kWholeLayer) {
    failing_ = kind;
    failing_layer_ = layer;
    failing_piece_ = piece;
  }
  int take_count() { return std::exchange(count_, 0); }

 private:
  std::mutex mutex_;
  int count_ = 0;
  std::optional<OpKind> failing_;
  int failing_layer_ = 0;
  int failing_piece_ = kWholeLayer;
};

float* head_norm(TinyRun& run) {
  const LayerStateView head = run.memory().layer(run.memory().layer_count() - 1);
  return reinterpret_cast<float*>(head.wire.data()) + head.layout->tensor("model.norm.weight").offset;
}

// Runs one step whose loss is NaN and leaves the weights as they were.
StepReport broken_step(TinyRun& run, int64_t index) {
  run.trainer().drain();
  const float before = std::exchange(*head_norm(run), std::numeric_limits<float>::quiet_NaN());
  const StepReport report = run.step(index);
  *head_norm(run) = before;
  return report;
}

TEST(Trainer, AStepWithoutTrainedTokensRunsNothingAndKeepsThePendingUpdate) {
  Watcher watcher;
  TinySettings settings;
  settings.engine.observer = &watcher;
  TinyRun with_gap(settings);
  TinyRun without_gap((TinySettings()));
  StepBatch empty = tiny_step(settings, 50);
  for (MicroBatch& batch : empty.micro_batches) {
    std::fill(batch.targets.begin(), batch.targets.end(), kIgnoredTarget);
    batch.trained_tokens = 0;
  }
  empty.trained_tokens = 0;
  with_gap.step(0);
  without_gap.step(0);
  watcher.take_count();
  EXPECT_TRUE(with_gap.trainer().step(empty).skipped);
  EXPECT_EQ(watcher.take_count(), 0);
  EXPECT_EQ(with_gap.trainer().progress(), (TrainerProgress{.step = 2, .update_count = 1}));
  // The update is still pending: the drain runs one op a layer.
  with_gap.trainer().drain();
  EXPECT_EQ(watcher.take_count(), with_gap.memory().layer_count());
  EXPECT_TRUE(with_gap.state() == without_gap.state());
}

TEST(Trainer, ANonFiniteStepChangesNoStateAndDoesNotCountAsAnUpdate) {
  TinyRun run((TinySettings()));
  const std::vector<std::byte> before = run.state();
  const StepReport report = broken_step(run, 0);
  EXPECT_TRUE(report.skipped);
  EXPECT_EQ(run.trainer().progress(), (TrainerProgress{.step = 1, .update_count = 0}));
  EXPECT_TRUE(run.state() == before);
  // What follows is what a run at step 1 without updates does: learning rate moved on, bias correction did not.
  TinyRun reference((TinySettings()));
  reference.trainer().restore({.step = 1, .update_count = 0});
  EXPECT_EQ(run.losses(1, 3), reference.losses(1, 3));
  EXPECT_TRUE(run.state() == reference.state());
}

TEST(Trainer, ASeriesOfNonFiniteStepsEndsTheRun) {
  TinyRun run((TinySettings()));
  broken_step(run, 0);
  run.step(1);  // a good one starts the count again
  for (int i = 1; i < kMaxSkippedInRow; ++i) broken_step(run, i);
  try {
    broken_step(run, 9);
    FAIL() << "no stop";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kNumericStop);
    EXPECT_THAT(error.what(), testing::HasSubstr("in a row"));
  }
}

TEST(Trainer, EagerStopsAtTheFirstNonFiniteStep) {
  TinySettings settings;
  settings.update = UpdateMode::kEager;
  settings.max_grad_norm = 0;
  TinyRun run(settings);
  run.step(0);
  try {
    broken_step(run, 1);
    FAIL() << "no stop";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kNumericStop);
  }
}

// A device lost before Decide leaves the state of the last step whole, wherever it happens: what the step had not yet
// applied of the pending update is applied by the drain, and nothing twice.
class LostDevice : public testing::TestWithParam<StateFormat> {};

TEST_P(LostDevice, LeavesTheLastStepsStateWhole) {
  struct Place {
    OpKind kind;
    int layer;
    int piece = kWholeLayer;
  };
  const std::vector<Place> places = {
      {OpKind::kUpdate, 0, kHotRows}, {OpKind::kEmbed, -1},    {OpKind::kFetch, 1, 0},
      {OpKind::kFetch, 2, 3},         {OpKind::kUpdate, 3, 0}, {OpKind::kUpdate, 3, 4},
      {OpKind::kFetch, 6, 1},         {OpKind::kForward, 4},   {OpKind::kUpdate, 0, kColdRows},
      {OpKind::kBackward, 2},         {OpKind::kOffload, 1},   {OpKind::kNorm, 0},
      {OpKind::kDecide, -1}};
  TinySettings settings;
  settings.format = GetParam();
  TinyRun whole(settings);
  whole.losses(0, 2);
  const std::vector<std::byte> expected = whole.state();
  for (const Place& place : places) {
    Watcher watcher;
    settings.engine.observer = &watcher;
    TinyRun run(settings);
    run.losses(0, 2);
    watcher.fail_at(place.kind, place.layer, place.piece);
    EXPECT_THROW(run.step(2), Error) << op_kind_name(place.kind) << " " << place.layer << ":" << place.piece;
    watcher.fail_at(OpKind::kSample, -2);  // nowhere
    EXPECT_TRUE(run.state() == expected) << "lost at " << op_kind_name(place.kind) << " " << place.layer << ":"
                                         << place.piece;
    EXPECT_EQ(run.trainer().progress().step, 2);
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, LostDevice,
                         testing::Values(StateFormat::kExact, StateFormat::kFloat32, StateFormat::kCompact,
                                         StateFormat::kCompact8),
                         [](const auto& format) { return std::string(state_format_name(format.param)); });

// Two equal blocks whose clipped gradients are nothing, so that weight decay alone moves them: by less than bf16 can
// show, and chance decides. `exact` leaves them equal.
TEST(Trainer, EveryLayerRoundsWithBitsOfItsOwn) {
  for (const StateFormat format : {StateFormat::kExact, StateFormat::kCompact, StateFormat::kCompact8}) {
    TinySettings settings;
    settings.format = format;
    settings.max_grad_norm = 1e-30;
    TinyRun run(settings);
    const LayerStateView first = run.memory().layer(1), second = run.memory().layer(2);
    ASSERT_EQ(first.wire.size(), second.wire.size());
    std::copy(first.wire.begin(), first.wire.end(), second.wire.begin());
    std::copy(first.state.begin(), first.state.end(), second.state.begin());
    run.step(0);
    run.trainer().drain();
    const bool are_equal = std::equal(first.wire.begin(), first.wire.end(), second.wire.begin());
    EXPECT_EQ(are_equal, format == StateFormat::kExact) << state_format_name(format);
  }
}

class CountsDrains final : public HostDevice {
 public:
  explicit CountsDrains(int& drains) : HostDevice({}), drains_(drains) {}
  void drain() noexcept override {
    ++drains_;
    HostDevice::drain();
  }

 private:
  int& drains_;
};

// Whatever a device keeps queued refers to the step's batch and to the engine's memory: both end only after a drain.
TEST(Trainer, AFailedStepAndTheEnginesEndDrainTheDevice) {
  int drains = 0;
  {
    Watcher watcher;
    TinySettings settings;
    settings.engine.observer = &watcher;
    settings.platform.make_device = [&drains] { return std::make_unique<CountsDrains>(drains); };
    TinyRun run(settings);
    run.step(0);
    drains = 0;
    watcher.fail_at(OpKind::kForward, 1);
    EXPECT_THROW(run.step(1), Error);
    EXPECT_EQ(drains, 1);
    watcher.fail_at(OpKind::kSample, -2);  // nowhere
  }
  EXPECT_GE(drains, 2);
}

}  // namespace
}  // namespace penstock
