// What the host's memory moves: in place (what the optimizer does) by number of threads, and copied.
// The bound of the host optimizer: a loop that reads and writes 4 bytes in place and does one addition moves 8 bytes a
// word. The copy writes elsewhere what it reads; its rate counts the copied bytes once.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "app/probe/turns.h"
#include "core/arena.h"

namespace penstock {

struct ThreadRate {
  int threads = 0;
  double gbps = 0;
};

struct StreamRates {
  uint64_t bytes = 0;          // that one pass covers
  bool beyond_caches = false;  // false: the rates are flattered by caches
  std::vector<ThreadRate> in_place;
  int knee = 1;  // the fewest threads that reach 95% of the best
  double best_gbps = 0;
  double copy_gbps = 0;  // with all threads
};

// Passes over `bytes` with every one of `thread_counts`, and a copy of half of them onto the other half with the most.
struct StreamSizes {
  uint64_t bytes = 0;
  uint64_t cache_bytes = 0;            // of all the caches that the threads share
  std::vector<int> thread_counts;      // ascending, not empty
  std::vector<std::vector<int>> cpus;  // of each thread's core, which it is bound to; empty: none is bound
  ArenaOptions memory;                 // where it comes from
  TurnLimits limits;
};

// Throws Error(kDoesNotFit) where the memory or the threads are refused.
StreamRates measure_stream(const StreamSizes& sizes);

// How much memory a pass should cover: four times the caches, 1 GiB at least, but no more than a quarter of what is
// available. `most_bytes` bounds that.
uint64_t stream_bytes(uint64_t cache_bytes, uint64_t available_bytes, uint64_t most_bytes);

// 1..16 and then in steps of an eighth, `cores` always last: a machine of 192 cores is measured in 36 passes.
std::vector<int> stream_thread_counts(int cores);

// `rates` in ascending order of threads, not empty.
int find_knee(std::span<const ThreadRate> rates);

}  // namespace penstock
