// What FakeCudaRuntime keeps of each object. Only its own two files see this.
#pragma once

#include "fake_cuda_runtime.h"

namespace penstock {

struct FakeCudaRuntime::Item {
  std::function<bool()> is_ready = [] { return true; };
  std::function<bool()> is_legal = [] { return true; };  // still, when it runs
  std::function<void()> work;                            // touches memory, without the lock; may be absent
  std::function<void()> on_done = [] {};
};

struct FakeCudaRuntime::Stream {
  int device;
  std::deque<Item> items;
  bool is_running = false;  // an item that touches memory
  bool is_stopping = false;
  std::thread thread;
};

struct FakeCudaRuntime::Event {
  EventUse use;
  int device;
  uint64_t newest = 0;
  std::set<uint64_t> open;  // records that no stream has passed
  int64_t time_ns = 0;      // of the newest passed
  uint64_t timed = 0;
};

struct FakeCudaRuntime::Allocation {
  std::vector<std::byte> storage;
  std::byte* begin;
  uint64_t bytes;
  bool is_freed = false;
};

}  // namespace penstock
