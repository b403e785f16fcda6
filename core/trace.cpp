#include "core/trace.h"

#include "core/check.h"

namespace penstock {

TraceRecorder::TraceRecorder(size_t ops_per_step) : slots_(ops_per_step) {
  now_ns();  // fixes the origin before the first op
}

void TraceRecorder::begin_step() { slots_.assign(slots_.size(), Slot{}); }

void TraceRecorder::begin(uint32_t op, LaneKind lane) {
  CHECK_LT(op, slots_.size());
  slots_[op] = {.lane = lane, .begin_ns = now_ns(), .end_ns = -1};
}

void TraceRecorder::end(uint32_t op) {
  CHECK_LT(op, slots_.size());
  CHECK_GE(slots_[op].begin_ns, 0);
  slots_[op].end_ns = now_ns();
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
