// The staged offloads that are in the ring, or on their way to it, and not yet in the user's memory.
// Shared by who queues them, the one thread that carries them, and who must know that they are done or skipped: it may
// outlive the thread. Invariant: they pass in order, so a count says which ones have.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <span>

namespace penstock {

struct CopyOut {
  uint64_t use;  // of the offload ring
  std::span<std::byte> to;
};

class CopyOutQueue {
 public:
  void push(const CopyOut& item);
  uint64_t pushed_count() const;
  // Blocks until the first `count` have passed: they are done, or never will be.
  void wait_passed(uint64_t count);

  // For the carrying thread, which has nothing in hand: blocks for the next item. None once closed: what is left
  // passes.
  std::optional<CopyOut> next();
  // The item that next() returned has passed.
  void pass();
  void close();

 private:
  mutable std::mutex mutex_;
  std::condition_variable queued_;
  std::condition_variable passed_;
  std::deque<CopyOut> queue_;
  uint64_t pushed_count_ = 0;
  uint64_t passed_count_ = 0;
  bool is_closed_ = false;
};

}  // namespace penstock
