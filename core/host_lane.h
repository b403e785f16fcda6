// One lane of the emulated device: a thread that works through a FIFO queue.
// Never stuck by an error: after the first failure on any lane, or when the device closes, queued work is skipped, but
// records still complete and waits still end.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "core/device.h"
#include "core/host_event.h"
#include "core/lane_failure.h"

namespace penstock {

class HostLane {
 public:
  // Starts the thread; Error(kDoesNotFit) when the system refuses it. `failure` outlives the lane.
  HostLane(LaneKind kind, LaneFailure& failure);
  // Ends once the queue is empty: work is run unless `failure` says to skip it.
  ~HostLane();
  HostLane(const HostLane&) = delete;
  HostLane& operator=(const HostLane&) = delete;

  // These return at once.
  void run(std::function<void()> work);
  void record(std::shared_ptr<EventRecords> records);
  void record(std::shared_ptr<TimingRecords> records);
  void wait(std::shared_ptr<const EventRecords> records, uint64_t generation);

  // Blocks until all that was queued before the call is done.
  void wait_idle();

 private:
  struct Item {
    std::function<void()> work;
    bool is_order;  // a record or a wait: runs even after a failure
  };
  void push(Item item);
  void loop();
  void execute(const Item& item);

  LaneFailure& failure_;
  std::mutex mutex_;
  std::condition_variable queued_;
  std::condition_variable passed_;
  std::deque<Item> queue_;
  uint64_t pushed_count_ = 0;
  uint64_t passed_count_ = 0;
  bool stopping_ = false;
  std::thread thread_;  // last: the loop reads all of the above
};

}  // namespace penstock
