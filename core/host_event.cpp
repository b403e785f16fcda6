#include "core/host_event.h"

#include <algorithm>

#include "core/check.h"

namespace penstock {

uint64_t EventRecords::open() {
  std::lock_guard lock(mutex_);
  open_.push_back(newest_ + 1);
  return ++newest_;
}

void EventRecords::complete(uint64_t generation) {
  // Notified under the lock: a waiter that returns may drop the last reference.
  std::lock_guard lock(mutex_);
  CHECK_EQ(std::erase(open_, generation), 1u);
  completed_.notify_all();
}

uint64_t EventRecords::newest() const {
  std::lock_guard lock(mutex_);
  return newest_;
}

void EventRecords::wait(uint64_t generation) const {
  std::unique_lock lock(mutex_);
  completed_.wait(lock, [&] { return std::ranges::find(open_, generation) == open_.end(); });
}

void TimingRecords::complete(uint64_t generation, int64_t time_ns) {
  {
    std::lock_guard lock(mutex_);
    if (generation > timed_generation_) {
      timed_generation_ = generation;
      time_ns_ = time_ns;
    }
  }
  records_.complete(generation);
}

int64_t TimingRecords::wait_for_time() const {
  const uint64_t generation = records_.newest();
  CHECK_GT(generation, 0u);
  records_.wait(generation);
  std::lock_guard lock(mutex_);
  return time_ns_;
}

}  // namespace penstock
