// The block context on host threads: one thread of the system per thread of a block, so that kernels run in tests
// without a card and the thread sanitizer sees them as they are.
// Not for speed: each barrier costs a wake-up of every thread.
// Invariants: a barrier is the only thing that orders memory between threads of a block, so a missing one is a race
// that the sanitizer reports; shuffles are relaxed atomics on purpose. Two blocks run at a time, unordered, so a
// conflict between blocks is one as well. Shared memory starts as NaNs. Threads that disagree about a barrier end the
// process.
#pragma once

#include <atomic>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "core/check.h"
#include "model/cuda/block.h"

namespace penstock {

class EmulatedTeam;

class EmulatedBlock {
 public:
  EmulatedBlock(EmulatedTeam& team, int thread, int threads) : team_(team), thread_(thread), threads_(threads) {}

  int thread() const { return thread_; }
  int threads() const { return threads_; }
  int64_t block() const { return block_; }
  int64_t blocks() const { return blocks_; }
  void barrier();

  template <class T>
  T shuffle_xor(T value, int mask) {
    return exchange(value, lane() ^ mask);
  }
  template <class T>
  T shuffle_down(T value, int by) {
    return exchange(value, lane() + by < kWarpLanes ? lane() + by : lane());
  }
  template <class T>
  T* shared() {
    return reinterpret_cast<T*>(shared_bytes());
  }

 private:
  friend class EmulatedTeam;

  int lane() const { return thread_ % kWarpLanes; }
  std::byte* shared_bytes();
  uint32_t exchange_bits(uint32_t bits, int source);

  template <class T>
  T exchange(T value, int source) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8);
    uint32_t words[sizeof(T) / 4];
    std::memcpy(words, &value, sizeof value);
    for (uint32_t& word : words) word = exchange_bits(word, source);
    std::memcpy(&value, words, sizeof value);
    return value;
  }

  EmulatedTeam& team_;
  int thread_, threads_;
  int64_t block_ = 0, blocks_ = 0;
  uint32_t rounds_ = 0, exchanges_ = 0;  // barriers and shuffles so far
};

// Runs kernels on the caller's behalf; one caller at a time. Returns when the launch is done.
class EmulatedLauncher {
 public:
  // `threads_per_block`: full warps, at most 1024.
  explicit EmulatedLauncher(int threads_per_block);
  ~EmulatedLauncher();
  EmulatedLauncher(const EmulatedLauncher&) = delete;
  EmulatedLauncher& operator=(const EmulatedLauncher&) = delete;

  int threads_per_block() const { return threads_per_block_; }
  void clear(void* to, uint64_t bytes) { std::memset(to, 0, bytes); }
  void copy(void* to, const void* from, uint64_t bytes) { std::memcpy(to, from, bytes); }

  template <class Kernel>
  void launch(const Kernel& kernel, const LaunchShape& shape) {
    run(shape, [&kernel](EmulatedBlock& block) { kernel(block); });
  }

 private:
  void run(const LaunchShape& shape, const std::function<void(EmulatedBlock&)>& kernel);

  int threads_per_block_;
  std::vector<std::unique_ptr<EmulatedTeam>> teams_;
};

}  // namespace penstock
