// One anonymous mapping of exact size, carved once and then sealed.
// Not a heap: nothing is ever freed before the arena itself. Memory is zero when it is handed out, and takes no room
// before it is touched (core/first_touch.h).
// Invariant: an arena of a huge page or more starts on a border of huge pages, so that it can consist of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "core/bytes.h"
#include "core/host_memory_calls.h"

namespace penstock {

inline constexpr uint64_t kHugePageBytes = 2 * kMiB;

struct ArenaOptions {
  bool huge_pages = true;   // asks for 2 MiB pages; false: asks for none, even where the system gives them to all
  std::optional<int> node;  // NUMA node, as numactl counts, that pages come from while it has any
  // Gets one line for each of these wishes that the system refuses: memory is then slower, and otherwise the same.
  std::function<void(const std::string&)> notice = {};
  HostMemoryCalls* calls = &system_host_memory();
};

class Arena {
 public:
  // Maps `bytes` (rounded up to whole pages) and excludes them from fork, which would copy pages on write.
  // Throws Error(kDoesNotFit) naming `name` and the size when the system refuses.
  Arena(std::string name, uint64_t bytes, const ArenaOptions& options = {});
  ~Arena();
  Arena(Arena&& other) noexcept;
  Arena& operator=(Arena&& other) noexcept;

  // CHECKs that the arena is not sealed and that the bytes are there: sizes were summed before the mapping.
  std::span<std::byte> allocate(uint64_t bytes, uint64_t alignment = 4096);
  // After this, allocate() is a bug.
  void seal() { sealed_ = true; }

  uint64_t capacity_bytes() const { return capacity_bytes_; }
  uint64_t used_bytes() const { return used_bytes_; }

 private:
  void map(uint64_t mapped_bytes);
  void apply(const ArenaOptions& options);
  void release() noexcept;

  std::string name_;
  HostMemoryCalls* calls_ = nullptr;
  std::byte* base_ = nullptr;
  uint64_t capacity_bytes_ = 0;
  uint64_t used_bytes_ = 0;
  bool sealed_ = false;
};

}  // namespace penstock
