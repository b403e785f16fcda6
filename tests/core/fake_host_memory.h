// The system's memory with books kept: what is mapped now, and a refusal of the n-th call of a kind.
#pragma once

#include <cerrno>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "core/host_memory_calls.h"

namespace penstock {

enum class MemoryCall : uint8_t { kMap, kUnmap, kAdvise, kPreferNode };
inline constexpr int kMemoryCallCount = 4;

class FakeHostMemory final : public HostMemoryCalls {
 public:
  // `n` counts from 1, over this object's life. Happens once.
  void refuse(MemoryCall kind, int n, int error) { refused_ = kind, refuse_at_ = n, error_ = error; }
  void refuse_every(MemoryCall kind, int error) { refuse(kind, kEvery, error); }
  int calls(MemoryCall kind) const { return calls_[static_cast<size_t>(kind)]; }

  uint64_t mapped_bytes() const { return mapped_bytes_; }
  struct Advice {
    uint64_t address, bytes;
    int advice;
  };
  std::vector<Advice> advices;  // granted
  int refused_advice = -1;      // the last one
  std::vector<int> nodes;       // preferred

  int map(void** memory, uint64_t bytes) override {
    if (const int error = begin(MemoryCall::kMap)) return error;
    const int error = system_host_memory().map(memory, bytes);
    if (error == 0) mapped_bytes_ += bytes;
    return error;
  }
  int unmap(void* memory, uint64_t bytes) override {
    if (const int error = begin(MemoryCall::kUnmap)) return error;
    const int error = system_host_memory().unmap(memory, bytes);
    if (error == 0) mapped_bytes_ -= bytes;
    return error;
  }
  int advise(void* memory, uint64_t bytes, int advice) override {
    if (const int error = begin(MemoryCall::kAdvise)) {
      refused_advice = advice;
      return error;
    }
    const int error = system_host_memory().advise(memory, bytes, advice);
    const std::lock_guard lock(mutex_);
    if (error == 0) advices.push_back({reinterpret_cast<uint64_t>(memory), bytes, advice});
    return error;
  }
  int prefer_node(void*, uint64_t, int node) override {
    if (const int error = begin(MemoryCall::kPreferNode)) return error;
    nodes.push_back(node);  // not passed on: a container may forbid the call
    return 0;
  }

 private:
  static constexpr int kEvery = -1;

  int begin(MemoryCall kind) {
    const std::lock_guard lock(mutex_);  // pages are touched by many threads
    const int n = ++calls_[static_cast<size_t>(kind)];
    return kind == refused_ && (n == refuse_at_ || refuse_at_ == kEvery) ? error_ : 0;
  }

  std::mutex mutex_;
  int calls_[kMemoryCallCount] = {};
  MemoryCall refused_ = MemoryCall::kMap;
  int refuse_at_ = 0;
  int error_ = 0;
  uint64_t mapped_bytes_ = 0;
};

}  // namespace penstock
