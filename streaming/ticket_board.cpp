#include "streaming/ticket_board.h"

namespace penstock {

void TicketBoard::begin_step(uint64_t step, size_t op_count) {
  const std::lock_guard lock(mutex_);
  CHECK_GT(step, step_);
  step_ = step;
  failed_ = false;
  if (issued_step_.size() < op_count) issued_step_.resize(op_count, 0);
}

void TicketBoard::issue(OpIndex op) {
  {
    const std::lock_guard lock(mutex_);
    CHECK_LT(op, issued_step_.size());
    CHECK_NE(issued_step_[op], step_);
    issued_step_[op] = step_;
  }
  changed_.notify_all();
}

bool TicketBoard::wait(OpIndex producer, const Op& consumer, IssueObserver* observer) {
  if (observer != nullptr && !observer->before_ticket(consumer, producer)) return true;
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return failed_ || issued_step_[producer] == step_; });
  return !failed_;
}

void TicketBoard::fail() {
  {
    const std::lock_guard lock(mutex_);
    failed_ = true;
  }
  changed_.notify_all();
}

bool TicketBoard::failed() const {
  const std::lock_guard lock(mutex_);
  return failed_;
}

}  // namespace penstock
