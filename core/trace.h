// When each op of a step ran, per lane. Memory is preallocated.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "core/device.h"

namespace penstock {

struct TraceEvent {
  uint32_t op;  // index into the step's schedule
  LaneKind lane;
  int64_t begin_ns;  // since the trace's origin
  int64_t end_ns;
};

// One writer per op; read only between steps.
class TraceRecorder {
 public:
  explicit TraceRecorder(size_t ops_per_step);

  void begin_step();  // forgets the events of the step before
  void record(uint32_t op, LaneKind lane, int64_t begin_ns, int64_t end_ns);
  // Events of the finished step in op order; ops that did not run are absent.
  std::vector<TraceEvent> events() const;
  // Nanoseconds since the process's first call: the origin of every trace.
  static int64_t now_ns();

 private:
  struct Slot {
    LaneKind lane = LaneKind::kHost;
    int64_t begin_ns = -1;
    int64_t end_ns = -1;
  };
  std::vector<Slot> slots_;
};

}  // namespace penstock
