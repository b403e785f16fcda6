// Maps the times of a device's events to the clock of TraceRecorder::now_ns().
// CUDA gives the milliseconds between two events as a float: exact to half a microsecond up to 8 s apart, to 4 us up to
// 65 s. So times count from an origin that is taken anew every few seconds, which also keeps the two clocks from
// drifting apart: but only between steps, as taking one waits for the device. A step of 60 s is told to some 4 us, a
// duration in it to 8 us. An origin is as good as the moment it was taken in: times from two origins may disagree by a
// few microseconds, so all of one step come from one.
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

// Half of the 8 s, for steps that take seconds.
inline constexpr int64_t kClockOriginLifeNs = 4'000'000'000;

class CudaClock {
 public:
  // From a thread that entered the context, as below. Takes the first origin.
  CudaClock(std::shared_ptr<CudaContext> context, int64_t origin_life_ns);

  // For an event that is recorded now. Thread-safe; makes no call.
  std::shared_ptr<const ClockOrigin> origin() const;
  // Takes a new origin, tens of microseconds, where the last one is old. Thread-safe; outside of steps.
  void renew();

 private:
  std::shared_ptr<const ClockOrigin> take_origin();

  std::shared_ptr<CudaContext> context_;
  const int64_t origin_life_ns_;
  OwnedStream stream_;  // of its own: always idle, so that an origin is passed when it is recorded
  mutable std::mutex mutex_;
  std::shared_ptr<const ClockOrigin> origin_;
};

// Of an event that was recorded after `origin` was taken, and is complete.
int64_t event_time_ns(const ClockOrigin& origin, const OwnedEvent& event);

}  // namespace penstock
