// Predicted times against sums done by hand, and against a plain event loop on random schedules.
#include "streaming/plan/simulator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "random_schedule.h"
#include "schedule_edits.h"
#include "step_settings_grid.h"

namespace penstock {
namespace {

constexpr size_t kFetch = static_cast<size_t>(LaneKind::kFetch);
constexpr size_t kCompute = static_cast<size_t>(LaneKind::kCompute);
constexpr size_t kOffload = static_cast<size_t>(LaneKind::kOffload);
constexpr size_t kHost = static_cast<size_t>(LaneKind::kHost);

// Copies of one byte a second, so that a size is a duration.
CostModel unit_costs() {
  CostModel costs;
  costs.h2d_bytes_per_second = 1;
  costs.d2h_bytes_per_second = 1;
  costs.host_bytes_per_second = 1;
  return costs;
}

Op op(OpKind kind, std::vector<BufferIndex> reads, std::vector<BufferIndex> writes) {
  Op result{.kind = kind, .lane = lane_of(kind), .layer = -1, .micro_batch = -1, .accesses = {}, .waits = {}};
  for (const BufferIndex buffer : reads) result.accesses.push_back({buffer, Mode::kRead});
  for (const BufferIndex buffer : writes) result.accesses.push_back({buffer, Mode::kWrite});
  return result;
}

// Two fetches of 4 s into one slot each, a forward of 10 s after each, and a report of nothing that reads the result.
Schedule two_fetches_two_forwards(StepVariant variant = StepVariant::kEval) {
  BufferTable table;
  const BufferIndex wire = table.add({.kind = BufferKind::kHostWire, .index = 1, .bytes = 4});
  const BufferIndex slot0 = table.add({.kind = BufferKind::kWeightSlot, .index = 0, .bytes = 8});
  const BufferIndex slot1 = table.add({.kind = BufferKind::kWeightSlot, .index = 1, .bytes = 8});
  const BufferIndex activation = table.add({.kind = BufferKind::kActivation, .bytes = 100});
  ScheduleBuilder builder(variant, 1, table);
  builder.emit(op(OpKind::kFetch, {wire}, {slot0}));
  builder.emit(op(OpKind::kForward, {slot0, activation}, {activation}));
  builder.emit(op(OpKind::kFetch, {wire}, {slot1}));
  builder.emit(op(OpKind::kForward, {slot1, activation}, {activation}));
  builder.emit(op(OpKind::kReport, {activation}, {}));
  return std::move(builder).build();
}

TEST(Simulator, FetchHidesUnderForwardExceptTheFirst) {
  const Schedule schedule = two_fetches_two_forwards();
  CostModel costs = unit_costs();
  costs.forward_seconds = 10;
  const Simulation result = simulate({&schedule}, costs);
  // fetch 0..4 and 4..8; forward 4..14 and 14..24.
  ASSERT_EQ(result.ops.size(), 5u);
  EXPECT_EQ(result.ops[0].end_seconds, 4);
  EXPECT_EQ(result.ops[2].begin_seconds, 4);
  EXPECT_EQ(result.ops[2].end_seconds, 8);
  EXPECT_EQ(result.ops[1].begin_seconds, 4);
  EXPECT_EQ(result.ops[3].begin_seconds, 14);
  EXPECT_EQ(result.step_seconds, 24);
  EXPECT_EQ(result.busy_seconds[kFetch], 8);
  EXPECT_EQ(result.busy_seconds[kCompute], 20);
  EXPECT_EQ(result.busy_seconds[kOffload], 0);
  EXPECT_EQ(result.exposed_seconds[kFetch], 4);  // the first fetch; the second is under the forward
  EXPECT_EQ(result.exposed_seconds[kCompute], 0);
  EXPECT_EQ(serial_seconds(schedule, costs), 28);
}

TEST(Simulator, ASecondStepStartsAfterTheLastHostOpOfTheFirst) {
  const Schedule schedule = two_fetches_two_forwards();
  CostModel costs = unit_costs();
  costs.forward_seconds = 10;
  const Simulation result = simulate({&schedule, &schedule, &schedule}, costs);
  EXPECT_EQ(result.ops[0].begin_seconds, 0);  // counted from the join
  EXPECT_EQ(result.step_seconds, 24);
  EXPECT_EQ(result.exposed_seconds[kFetch], 4);
}

// A first step whose host op is done early: the second step's lanes still queue behind the first step's work.
TEST(Simulator, LanesStayFifoAcrossTheJoin) {
  const Schedule whole = two_fetches_two_forwards();
  const Schedule hasty = with_edited_op(whole, 4, [](Op& report) { report.waits.clear(); });
  CostModel costs = unit_costs();
  costs.forward_seconds = 10;
  const Simulation result = simulate({&hasty, &whole}, costs);
  EXPECT_EQ(result.ops[0].begin_seconds, 8);   // behind both fetches of the first step
  EXPECT_EQ(result.ops[1].begin_seconds, 24);  // behind both forwards
  EXPECT_EQ(result.step_seconds, 44);
}

TEST(Simulator, BoundLaneDecidesTheStepOfADeepModel) {
  StepSettings settings = training(40, 2, 1);
  settings.activations = policies(40, 0);
  const Schedule schedule = planner(settings).plan(StepVariant::kTrain);
  CostModel costs;
  costs.forward_seconds = 1;
  costs.backward_seconds = 2;
  costs.recompute_seconds = 1;
  costs.loss_seconds = 3;
  costs.h2d_bytes_per_second = 2000 / 0.5;  // a block's 2,000 bytes in half a forward
  const Simulation result = simulate({&schedule}, costs);
  const double compute = 40 * 1 + 40 * 3 + 3;
  EXPECT_DOUBLE_EQ(result.busy_seconds[kCompute], compute);
  // Exposed: the embedding's rows and the first block.
  EXPECT_DOUBLE_EQ(result.step_seconds, compute + 300 / 4000.0 + 0.5);
  EXPECT_NEAR(result.exposed_seconds[kFetch], 300 / 4000.0 + 0.5, 1e-9);
  EXPECT_NEAR(serial_seconds(schedule, costs) - compute, 300 / 4000.0 + (40 + 37) * 0.5 + 4082 / 4000.0, 1e-9);
}

// The oracle: whichever lane can start its next op earliest does so; no list order, no recursion.
std::vector<SimulatedOp> event_loop(const Schedule& schedule, const CostModel& costs) {
  std::vector<SimulatedOp> times(schedule.ops().size(), {-1, -1});
  std::array<size_t, kLaneCount> next{};
  std::array<double, kLaneCount> free{};
  for (size_t done = 0; done < times.size(); ++done) {
    int best_lane = -1;
    double best_begin = 0;
    for (int lane = 0; lane < kLaneCount; ++lane) {
      const std::vector<OpIndex>& queue = schedule.lane(static_cast<LaneKind>(lane));
      const size_t place = static_cast<size_t>(lane);
      if (next[place] == queue.size()) continue;
      double begin = free[place];
      bool ready = true;
      for (const OpIndex producer : schedule.ops()[queue[next[place]]].waits) {
        ready = ready && times[producer].end_seconds >= 0;
        begin = std::max(begin, times[producer].end_seconds);
      }
      if (!ready || (best_lane >= 0 && begin >= best_begin)) continue;
      best_lane = lane;
      best_begin = begin;
    }
    const size_t place = static_cast<size_t>(best_lane);
    const OpIndex chosen = schedule.lane(static_cast<LaneKind>(best_lane))[next[place]++];
    free[place] = best_begin + costs.seconds(schedule.ops()[chosen], schedule.buffers());
    times[chosen] = {best_begin, free[place]};
  }
  return times;
}

// Samples the middle of every elementary interval: is the lane busy, and is compute idle?
double exposed_by_sampling(const Schedule& schedule, const std::vector<SimulatedOp>& times, LaneKind lane) {
  std::vector<double> cuts;
  for (const SimulatedOp& time : times) cuts.insert(cuts.end(), {time.begin_seconds, time.end_seconds});
  std::sort(cuts.begin(), cuts.end());
  const auto busy = [&](LaneKind kind, double moment) {
    for (const OpIndex index : schedule.lane(kind)) {
      if (times[index].begin_seconds < moment && moment < times[index].end_seconds) return true;
    }
    return false;
  };
  double exposed = 0;
  for (size_t i = 1; i < cuts.size(); ++i) {
    const double middle = (cuts[i - 1] + cuts[i]) / 2;
    if (cuts[i] > cuts[i - 1] && busy(lane, middle) && !busy(LaneKind::kCompute, middle))
      exposed += cuts[i] - cuts[i - 1];
  }
  return exposed;
}

TEST(Simulator, AgreesWithAPlainEventLoopOnRandomSchedules) {
  CostModel costs = unit_costs();
  costs.copy_latency_seconds = 3;
  costs.forward_seconds = 500;
  costs.backward_seconds = 900;
  costs.loss_seconds = 300;
  costs.pack_seconds = 100;
  for (unsigned seed = 0; seed < 1000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const Schedule schedule = random_schedule(random);
    const Simulation result = simulate({&schedule}, costs);
    const std::vector<SimulatedOp> expected = event_loop(schedule, costs);
    double end = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_DOUBLE_EQ(result.ops[i].begin_seconds, expected[i].begin_seconds) << i;
      ASSERT_DOUBLE_EQ(result.ops[i].end_seconds, expected[i].end_seconds) << i;
      end = std::max(end, expected[i].end_seconds);
    }
    ASSERT_DOUBLE_EQ(result.step_seconds, end);
    for (const LaneKind lane : {LaneKind::kFetch, LaneKind::kOffload, LaneKind::kHost}) {
      ASSERT_NEAR(result.exposed_seconds[static_cast<size_t>(lane)], exposed_by_sampling(schedule, expected, lane),
                  1e-6)
          << lane_name(lane);
    }
  }
}

TEST(CostModel, PricesByTheBytesThatMove) {
  const StepPlanner plan = planner(training(3, 1, 2));
  const Schedule pending = plan.plan(StepVariant::kTrainPending);
  CostModel costs;
  costs.h2d_bytes_per_second = 10;
  costs.d2h_bytes_per_second = 100;
  costs.host_bytes_per_second = 1000;
  costs.copy_latency_seconds = 0.25;
  costs.forward_seconds = 3;
  costs.backward_seconds = 6;
  costs.recompute_seconds = 2;
  costs.loss_seconds = 9;
  costs.pack_seconds = 0.5;
  const auto price = [&](const std::string& label) {
    return costs.seconds(pending.ops()[find_op(pending, label)], pending.buffers());
  };
  EXPECT_DOUBLE_EQ(price("Fetch(1)"), 0.25 + 2000 / 10.0);
  EXPECT_DOUBLE_EQ(price("Fetch(H)"), 0.25 + 4008 / 10.0);
  EXPECT_DOUBLE_EQ(price("FetchEmbed(m0)"), 2 * 0.25 + 300 / 10.0);
  EXPECT_DOUBLE_EQ(price("Offload(1)"), 0.25 + 2000 / 100.0);
  EXPECT_DOUBLE_EQ(price("OffloadEmbed(m1)"), 0.25 + 300 / 100.0);
  EXPECT_DOUBLE_EQ(price("OffloadLoss"), 0.25 + 16 / 100.0);
  // gradient 2,000, wire 2,000 and state 10,000 twice, and the decision's 64.
  EXPECT_DOUBLE_EQ(price("Update(1)"), (2000 + 2 * 2000 + 2 * 10000 + 64) / 1000.0);
  EXPECT_DOUBLE_EQ(price("Norm(1)"), (2000 + 64) / 1000.0);
  EXPECT_DOUBLE_EQ(price("Embed(m0)"), 2 * 300 / 1000.0);  // not the whole embedding
  EXPECT_DOUBLE_EQ(price("ScatterEmbed"), (2 * 300 + 4000) / 1000.0);
  EXPECT_DOUBLE_EQ(price("Decide"), 0);
  EXPECT_DOUBLE_EQ(price("Forward(1,m0)"), 3);
  EXPECT_DOUBLE_EQ(price("Backward(0,m0)"), 6);  // kept
  EXPECT_DOUBLE_EQ(price("Backward(1,m0)"), 8);  // recomputed
  EXPECT_DOUBLE_EQ(price("Loss(m1)"), 9);
  EXPECT_DOUBLE_EQ(price("Pack(2)"), 0.5);
  const Schedule eval = plan.plan(StepVariant::kEval);
  EXPECT_DOUBLE_EQ(costs.seconds(eval.ops()[find_op(eval, "Loss(m0)")], eval.buffers()), 3);
  EXPECT_DOUBLE_EQ(CostModel{}.seconds(pending.ops()[find_op(pending, "Fetch(1)")], pending.buffers()), 0);
}

TEST(CostModel, PiecesCostTogetherWhatTheWholeCosts) {
  StepSettings settings = training(3, 1, 2);
  for (const bool tied : {false, true}) {
    settings.tied_head = tied;
    const Schedule whole = planner(settings).plan(StepVariant::kTrainPending);
    const Schedule cut = planner(settings, Wire::kCut).plan(StepVariant::kTrainPending);
    CostModel costs;
    costs.host_bytes_per_second = 1000;
    costs.h2d_bytes_per_second = 10;
    const auto total = [&](const Schedule& schedule, OpKind kind) {
      double seconds = 0;
      for (const Op& op : schedule.ops()) seconds += op.kind == kind ? costs.seconds(op, schedule.buffers()) : 0;
      return seconds;
    };
    EXPECT_NEAR(total(cut, OpKind::kUpdate), total(whole, OpKind::kUpdate), 1e-9);
    EXPECT_NEAR(total(cut, OpKind::kFetch), total(whole, OpKind::kFetch), 1e-9);
    const OpIndex fetch = find_op(cut, "Fetch(1:2)");
    EXPECT_DOUBLE_EQ(costs.seconds(cut.ops()[fetch], cut.buffers()), 120 / 10.0);
    // 120 of the layer's 2,000 bytes of weights, and that share of gradient, state and decision.
    const OpIndex update = find_op(cut, "Update(1:2)");
    EXPECT_DOUBLE_EQ(costs.seconds(cut.ops()[update], cut.buffers()),
                     120 / 2000.0 * (2000 + 2 * 2000 + 2 * 10000 + 64) / 1000.0);
  }
}

// Where a step may name every row, the cold rows' update is planned to cost nothing.
TEST(CostModel, NoRowIsPaidTwice) {
  StepBytes bytes = small_bytes(2);
  const Schedule whole = StepPlanner(training(2, 1, 1), bytes).plan(StepVariant::kTrainPending);
  bytes.layers[0].hot_rows = bytes.layers[0].wire;
  const Schedule cut = StepPlanner(training(2, 1, 1), bytes).plan(StepVariant::kTrainPending);
  CostModel costs;
  costs.host_bytes_per_second = 1000;
  const auto price = [&](const Schedule& schedule, const char* label) {
    return costs.seconds(schedule.ops()[find_op(schedule, label)], schedule.buffers());
  };
  EXPECT_DOUBLE_EQ(price(cut, "Update(E:hot)"), price(whole, "Update(E)"));
  EXPECT_DOUBLE_EQ(price(cut, "Update(E:cold)"), 0);
}

// The join: the first forward waits for the hot rows, the first block's update and the fetch of its last piece, not for
// the whole embedding and a whole fetch.
TEST(Simulator, PiecesAndHotRowsShortenTheJoin) {
  const StepSettings settings = training(3, 1, 1);
  StepBytes bytes = small_bytes(3);
  const Schedule whole = StepPlanner(settings, bytes).plan(StepVariant::kTrainPending);
  for (size_t layer = 1; layer <= 3; ++layer) bytes.layers[layer].wire_pieces.assign(4, 500);
  bytes.layers[0].hot_rows = 400;  // of 4,000
  const Schedule cut = StepPlanner(settings, bytes).plan(StepVariant::kTrainPending);
  CostModel costs;
  costs.host_bytes_per_second = 1000;
  costs.h2d_bytes_per_second = 1000;
  costs.forward_seconds = 1;
  const auto first_forward = [&](const Schedule& schedule) {
    return simulate({&schedule}, costs).ops[find_op(schedule, "Forward(0,m0)")].begin_seconds;
  };
  const double embed = 2 * 300 / 1000.0;
  const double embedding = (4000 + 2 * 4000 + 2 * 20000 + 64) / 1000.0;
  const double block = (2000 + 2 * 2000 + 2 * 10000 + 64) / 1000.0;
  EXPECT_NEAR(first_forward(whole), embedding + embed + block + 2000 / 1000.0, 1e-9);
  EXPECT_NEAR(first_forward(cut), embedding / 10 + embed + block + 500 / 1000.0, 1e-9);
}

// Deferred updates run under the next step's forward: the host's time is exposed at the join only.
TEST(Simulator, DeferredUpdateIsHiddenWhenComputeIsLong) {
  const StepPlanner plan = planner(training(8, 2, 4));
  const Schedule pending = plan.plan(StepVariant::kTrainPending);
  CostModel costs;
  costs.host_bytes_per_second = 26'000;  // one block's update in a second
  costs.forward_seconds = 1;
  costs.backward_seconds = 2;
  const Simulation result = simulate({&pending, &pending}, costs);
  EXPECT_GT(result.busy_seconds[kHost], 8.0);
  EXPECT_LT(result.exposed_seconds[kHost], 0.5 * result.busy_seconds[kHost]);
}

}  // namespace
}  // namespace penstock
