#include "core/cuda/copy_out_queue.h"

namespace penstock {

void CopyOutQueue::push(const CopyOut& item) {
  {
    std::lock_guard lock(mutex_);
    queue_.push_back(item);
    ++pushed_count_;
  }
  queued_.notify_one();
}

uint64_t CopyOutQueue::pushed_count() const {
  std::lock_guard lock(mutex_);
  return pushed_count_;
}

void CopyOutQueue::wait_passed(uint64_t count) {
  std::unique_lock lock(mutex_);
  passed_.wait(lock, [&] { return passed_count_ >= count; });
}

std::optional<CopyOut> CopyOutQueue::next() {
  std::unique_lock lock(mutex_);
  queued_.wait(lock, [this] { return is_closed_ || !queue_.empty(); });
  if (is_closed_) {
    queue_.clear();
    passed_count_ = pushed_count_;
    passed_.notify_all();
    return std::nullopt;
  }
  const CopyOut item = queue_.front();
  queue_.pop_front();
  return item;
}

void CopyOutQueue::pass() {
  {
    std::lock_guard lock(mutex_);
    ++passed_count_;
  }
  passed_.notify_all();
}

void CopyOutQueue::close() {
  {
    std::lock_guard lock(mutex_);
    is_closed_ = true;
  }
  queued_.notify_one();
}

}  // namespace penstock
