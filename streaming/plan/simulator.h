// Predicts when each op of a step runs. It executes the schedule exactly as the executor does (lanes FIFO, waits) with
// modelled durations instead of work.
#pragma once

#include <array>
#include <vector>

#include "streaming/plan/cost_model.h"
#include "streaming/plan/schedule.h"

namespace penstock {

// Seconds since the last step given began: since the last host op of the step before it was done.
struct SimulatedOp {
  double begin_seconds;
  double end_seconds;
};

struct Simulation {
  std::vector<SimulatedOp> ops;                 // by op index, of the last step given
  double step_seconds;                          // of the last step given, until its last op is done
  std::array<double, kLaneCount> busy_seconds;  // of the last step given
  // Time in which the lane is busy while the compute lane is idle, of the last step given.
  std::array<double, kLaneCount> exposed_seconds;
};

// Steps run one after the other under the executor's join rule; give two to see the steady state.
Simulation simulate(const std::vector<const Schedule*>& steps, const CostModel& costs);

// All ops one after the other: what a trainer without overlap would need.
double serial_seconds(const Schedule& schedule, const CostModel& costs);

}  // namespace penstock
