#include "core/host_lane.h"

#include <string>
#include <utility>

#include "core/thread_start.h"
#include "core/trace.h"

namespace penstock {

HostLane::HostLane(LaneKind kind, LaneFailure& failure)
    : failure_(failure), thread_(start_thread(std::string(lane_name(kind)), [this] { loop(); })) {}

HostLane::~HostLane() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  queued_.notify_one();
  thread_.join();
}

void HostLane::run(std::function<void()> work) { push({.work = std::move(work), .is_order = false}); }

void HostLane::record(std::shared_ptr<EventRecords> records) {
  const uint64_t generation = records->open();
  push({.work = [records = std::move(records), generation] { records->complete(generation); }, .is_order = true});
}

void HostLane::record(std::shared_ptr<TimingRecords> records) {
  const uint64_t generation = records->open();
  push({.work = [records = std::move(records), generation] { records->complete(generation, TraceRecorder::now_ns()); },
        .is_order = true});
}

void HostLane::wait(std::shared_ptr<const EventRecords> records, uint64_t generation) {
  push({.work = [records = std::move(records), generation] { records->wait(generation); }, .is_order = true});
}

void HostLane::wait_idle() {
  std::unique_lock lock(mutex_);
  const uint64_t target = pushed_count_;
  passed_.wait(lock, [&] { return passed_count_ >= target; });
}

void HostLane::push(Item item) {
  {
    std::lock_guard lock(mutex_);
    queue_.push_back(std::move(item));
    ++pushed_count_;
  }
  queued_.notify_one();
}

void HostLane::loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    queued_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    {
      const Item item = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      execute(item);
    }  // what the work captured is gone before the lane says it passed it
    lock.lock();
    ++passed_count_;
    passed_.notify_all();
  }
}

void HostLane::execute(const Item& item) {
  if (!item.is_order && failure_.skips_work()) return;
  try {
    item.work();
  } catch (...) {
    failure_.set(std::current_exception());
  }
}

}  // namespace penstock
