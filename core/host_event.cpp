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

}  // namespace penstock
