// Proves a schedule free of races and each slot read to find the layer and version it expects.
// Independent of ScheduleBuilder: it trusts nothing but lane order and Op::waits.
#pragma once

#include <string>
#include <vector>

#include "streaming/plan/schedule.h"

namespace penstock {

struct ScheduleFinding {
  std::string what;  // one line, names both ops and the buffer
};

// Races: two ops that touch one buffer, one of them writing, with no path between them. Empty: none.
std::vector<ScheduleFinding> find_races(const Schedule& schedule);

// The same over `first` followed by `second`. The executor's rule at the join: no op of `second` is issued before the
// last host op of `first` is done; lanes stay FIFO. Both must share one buffer table.
std::vector<ScheduleFinding> find_join_races(const Schedule& first, const Schedule& second);

// Slot contents over a sequence of steps: every Forward, Backward and Loss reads the slot of its layer, at the version
// that the updates so far have made; every Offload carries the gradient of its layer of this step; every Update uses a
// gradient of the latest training step exactly once. Empty: all as expected.
std::vector<ScheduleFinding> find_wrong_contents(const std::vector<const Schedule*>& steps);

}  // namespace penstock
