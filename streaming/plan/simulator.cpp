#include "streaming/plan/simulator.h"

#include <algorithm>

#include "core/check.h"

namespace penstock {
namespace {

// Seconds in which both a and b are busy. Each lists disjoint intervals in ascending order, as a lane's ops are.
double overlap_seconds(const std::vector<SimulatedOp>& a, const std::vector<SimulatedOp>& b) {
  double overlap = 0;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    overlap +=
        std::max(0.0, std::min(a[i].end_seconds, b[j].end_seconds) - std::max(a[i].begin_seconds, b[j].begin_seconds));
    if (a[i].end_seconds < b[j].end_seconds) {
      ++i;
    } else {
      ++j;
    }
  }
  return overlap;
}

std::vector<SimulatedOp> lane_intervals(const Schedule& schedule, LaneKind lane, const std::vector<SimulatedOp>& ops) {
  std::vector<SimulatedOp> intervals;
  for (const OpIndex op : schedule.lane(lane)) intervals.push_back(ops[op]);
  return intervals;
}

double busy_seconds(const std::vector<SimulatedOp>& intervals) {
  double seconds = 0;
  for (const SimulatedOp& op : intervals) seconds += op.end_seconds - op.begin_seconds;
  return seconds;
}

// Runs one step that may begin at `join`; lanes are free from `lane_free` on, which it moves.
std::vector<SimulatedOp> run_step(const Schedule& schedule, const CostModel& costs, double join,
                                  std::array<double, kLaneCount>& lane_free) {
  std::vector<SimulatedOp> ops;
  ops.reserve(schedule.ops().size());
  for (const Op& op : schedule.ops()) {
    double& free = lane_free[static_cast<size_t>(op.lane)];
    double begin = std::max(join, free);
    for (const OpIndex producer : op.waits) begin = std::max(begin, ops[producer].end_seconds);
    free = begin + costs.seconds(op, schedule.buffers());
    ops.push_back({begin, free});
  }
  return ops;
}

void measure_lanes(const Schedule& schedule, Simulation& result) {
  const std::vector<SimulatedOp> compute = lane_intervals(schedule, LaneKind::kCompute, result.ops);
  for (int lane = 0; lane < kLaneCount; ++lane) {
    const std::vector<SimulatedOp> intervals = lane_intervals(schedule, static_cast<LaneKind>(lane), result.ops);
    const size_t place = static_cast<size_t>(lane);
    result.busy_seconds[place] = busy_seconds(intervals);
    const bool is_compute = static_cast<LaneKind>(lane) == LaneKind::kCompute;
    result.exposed_seconds[place] = is_compute ? 0.0 : result.busy_seconds[place] - overlap_seconds(intervals, compute);
  }
}

}  // namespace

Simulation simulate(const std::vector<const Schedule*>& steps, const CostModel& costs) {
  CHECK(!steps.empty());
  std::array<double, kLaneCount> lane_free{};
  double join = 0;
  Simulation result{};
  for (const Schedule* step : steps) {
    const double begin = join;
    result.ops = run_step(*step, costs, begin, lane_free);
    const std::vector<OpIndex>& host = step->lane(LaneKind::kHost);
    if (!host.empty()) join = result.ops[host.back()].end_seconds;
    double end = begin;
    for (SimulatedOp& op : result.ops) {
      end = std::max(end, op.end_seconds);
      op.begin_seconds -= begin;
      op.end_seconds -= begin;
    }
    result.step_seconds = end - begin;
  }
  measure_lanes(*steps.back(), result);
  return result;
}

double serial_seconds(const Schedule& schedule, const CostModel& costs) {
  double seconds = 0;
  for (const Op& op : schedule.ops()) seconds += costs.seconds(op, schedule.buffers());
  return seconds;
}

}  // namespace penstock
