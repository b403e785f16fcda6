// Host tickets: "the producer op of this step has been issued". A consumer takes its device-side wait only afterwards,
// because waiting on an event that was not yet recorded is silently no wait at all.
// Generation-checked: a ticket carries the number of its step, so that one of the step before does not count.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <vector>

#include "core/check.h"
#include "streaming/plan/op.h"

namespace penstock {

// Lets tests watch and delay the issuing threads. Called on the thread of the consumer's lane.
class IssueObserver {
 public:
  virtual ~IssueObserver() = default;
  // About to wait for the producer's ticket. False: go on without it, to show what tickets are for.
  virtual bool before_ticket(const Op& consumer, OpIndex producer) = 0;
  virtual void before_run(const Op& op) = 0;  // waits are enqueued, the handler comes next
};

class TicketBoard {
 public:
  // Forgets failures and makes room for `op_count` ops of step `step` (ever increasing).
  void begin_step(uint64_t step, size_t op_count);
  void issue(OpIndex op);
  // Blocks until `producer` was issued in this step; false: the step failed meanwhile. `observer` may be null.
  bool wait(OpIndex producer, const Op& consumer, IssueObserver* observer);
  // Wakes everybody; all waits of this step return false from now on.
  void fail();
  bool failed() const;

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<uint64_t> issued_step_;
  uint64_t step_ = 0;
  bool failed_ = false;
};

}  // namespace penstock
