// Maps the times of a device's events to the clock of TraceRecorder::now_ns().
// CUDA gives the milliseconds between two events as a float: exact to half a microsecond up to 8 s apart. So times
// count from an origin that is taken anew every few seconds, which also keeps the two clocks from drifting apart.
// An origin is as good as the moment it was taken in: times from two origins may disagree by a few microseconds.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>

#include "core/cuda/owned_handles.h"

namespace penstock {

struct ClockOrigin {
  OwnedEvent event;
  int64_t time_ns;
};

// Half of the 8 s, for events that wait long in their queue.
inline constexpr int64_t kClockOriginLifeNs = 4'000'000'000;

class CudaClock {
 public:
  // From a thread that entered the context.
  explicit CudaClock(std::shared_ptr<CudaContext> context, int64_t origin_life_ns = kClockOriginLifeNs);

  // For an event that is recorded now. Thread-safe; takes a new origin, some 10 us, where the last one is old.
  std::shared_ptr<const ClockOrigin> origin();

 private:
  std::shared_ptr<const ClockOrigin> take_origin();

  std::shared_ptr<CudaContext> context_;
  const int64_t origin_life_ns_;
  OwnedStream stream_;  // of its own: always idle, so that an origin is passed when it is recorded
  std::mutex mutex_;
  std::shared_ptr<const ClockOrigin> origin_;
};

// Of an event that was recorded after `origin` was taken, and is complete.
int64_t event_time_ns(const ClockOrigin& origin, const OwnedEvent& event);

}  // namespace penstock
