// Counts device bytes against a limit: arenas, which stay, and LibTorch's temporaries, which come and go.
// Not an allocator. Thread-safe; the sum of both never exceeds the limit, whoever asks at the same time.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

#include "core/device.h"
#include "core/error.h"

namespace penstock {

// What a user is told when there is no room for another `bytes`.
Error arena_refusal(std::string_view name, uint64_t bytes, const MemoryUse& use);

class MemoryBudget {
 public:
  explicit MemoryBudget(uint64_t limit_bytes) : limit_bytes_(limit_bytes) {}

  // Returns false, and takes nothing, where the limit would be passed.
  bool take_arena(uint64_t bytes);
  void give_back_arena(uint64_t bytes);
  // The same for temporaries; negative bytes give back and always succeed.
  bool charge_temporary(int64_t bytes);

  MemoryUse use() const;

 private:
  bool reserve(uint64_t bytes);

  const uint64_t limit_bytes_;
  std::atomic<uint64_t> reserved_bytes_ = 0;  // arenas and temporaries
  std::atomic<uint64_t> arena_bytes_ = 0;
  std::atomic<uint64_t> temporary_bytes_ = 0;
  std::atomic<uint64_t> temporary_peak_bytes_ = 0;
};

}  // namespace penstock
