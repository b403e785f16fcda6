// The emulated device's events. A record is a generation: opened when record() is called, completed when the lane gets
// there. A wait names one generation, so a later record neither delays nor satisfies it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "core/device.h"

namespace penstock {

// Shared by the event and by the lanes' queues, so that an event may be destroyed while its records are queued.
class EventRecords {
 public:
  // Opens the next generation; 1 is the first.
  uint64_t open();
  void complete(uint64_t generation);
  // 0: never recorded.
  uint64_t newest() const;
  // Blocks until `generation` is complete; 0 is.
  void wait(uint64_t generation) const;

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable completed_;
  uint64_t newest_ = 0;
  std::vector<uint64_t> open_;  // opened and not complete; two lanes may complete them in any order
};

// The records of a timing event: each carries the time at which its lane got there.
class TimingRecords {
 public:
  uint64_t open() { return records_.open(); }
  void complete(uint64_t generation, int64_t time_ns);
  // The newest record's time; blocks until it is complete. CHECKs that there is one.
  int64_t wait_for_time() const;

 private:
  EventRecords records_;
  mutable std::mutex mutex_;
  uint64_t timed_generation_ = 0;  // the newest of the completed ones
  int64_t time_ns_ = 0;
};

class HostEvent final : public Event {
 public:
  const std::shared_ptr<EventRecords>& records() const { return records_; }

 private:
  std::shared_ptr<EventRecords> records_ = std::make_shared<EventRecords>();
};

class HostTimingEvent final : public TimingEvent {
 public:
  const std::shared_ptr<TimingRecords>& records() const { return records_; }

 private:
  std::shared_ptr<TimingRecords> records_ = std::make_shared<TimingRecords>();
};

}  // namespace penstock
