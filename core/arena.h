// One anonymous mapping of exact size, carved once and then sealed.
// Not a heap: nothing is ever freed before the arena itself. Memory is zero when it is handed out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace penstock {

class Arena {
 public:
  // Maps `bytes` (rounded up to whole pages), asks for 2 MiB pages and excludes the range from fork.
  // Throws Error(kDoesNotFit) naming `name` and the size when the system refuses.
  Arena(std::string name, uint64_t bytes);
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
  void release() noexcept;

  std::string name_;
  std::byte* base_ = nullptr;
  uint64_t capacity_bytes_ = 0;
  uint64_t used_bytes_ = 0;
  bool sealed_ = false;
};

}  // namespace penstock
