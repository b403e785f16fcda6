#include "core/trace.h"

#include "core/check.h"

namespace penstock {

TraceRecorder::TraceRecorder(size_t ops_per_step) : slots_(ops_per_step) {
  now_ns();  // fixes the origin before the first op
}

void TraceRecorder::begin_step() { slots_.assign(slots_.size(), Slot{}); }

void TraceRecorder::record(uint32_t op, LaneKind lane, int64_t begin_ns, int64_t end_ns) {
  CHECK_LT(op, slots_.size());
  CHECK_GE(begin_ns, 0);
  CHECK_LE(begin_ns, end_ns);
  slots_[op] = {lane, begin_ns, end_ns};
}

std::vector<TraceEvent> TraceRecorder::events() const {
  std::vector<TraceEvent> events;
  for (uint32_t op = 0; op < slots_.size(); ++op) {
    const Slot& slot = slots_[op];
    if (slot.end_ns >= 0) events.push_back({op, slot.lane, slot.begin_ns, slot.end_ns});
  }
  return events;
}

int64_t TraceRecorder::now_ns() {
  using Clock = std::chrono::steady_clock;
  static const Clock::time_point origin = Clock::now();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - origin).count();
}

}  // namespace penstock
