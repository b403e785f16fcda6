#include "core/arena.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/bytes.h"
#include "core/check.h"
#include "core/error.h"

namespace penstock {
namespace {

uint64_t page_bytes() { return static_cast<uint64_t>(sysconf(_SC_PAGESIZE)); }

[[noreturn]] void refuse(const std::string& name, uint64_t bytes, int error_number) {
  throw Error(ExitCode::kDoesNotFit,
              fmt::format("arena '{}': the system refuses {} of memory ({}); free memory or use smaller settings", name,
                          format_bytes(bytes), std::strerror(error_number)));
}

}  // namespace

Arena::Arena(std::string name, uint64_t bytes) : name_(std::move(name)) {
  if (bytes == 0) return;
  const uint64_t page = page_bytes();
  if (bytes > static_cast<uint64_t>(INT64_MAX) - page) refuse(name_, bytes, ENOMEM);
  const uint64_t mapped_bytes = align_up(bytes, page);
  void* mapping = mmap(nullptr, mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) refuse(name_, bytes, errno);
  // Advice only: a kernel without huge pages runs on, slower. Without DONTFORK a child would copy pages on write.
  madvise(mapping, mapped_bytes, MADV_HUGEPAGE);
  madvise(mapping, mapped_bytes, MADV_DONTFORK);
  base_ = static_cast<std::byte*>(mapping);
  capacity_bytes_ = mapped_bytes;
}

Arena::~Arena() { release(); }

Arena::Arena(Arena&& other) noexcept { *this = std::move(other); }

Arena& Arena::operator=(Arena&& other) noexcept {
  if (this == &other) return *this;
  release();
  name_ = std::move(other.name_);
  base_ = std::exchange(other.base_, nullptr);
  capacity_bytes_ = std::exchange(other.capacity_bytes_, 0);
  used_bytes_ = std::exchange(other.used_bytes_, 0);
  sealed_ = std::exchange(other.sealed_, true);
  return *this;
}

std::span<std::byte> Arena::allocate(uint64_t bytes, uint64_t alignment) {
  CHECK(!sealed_);
  CHECK(std::has_single_bit(alignment));
  CHECK_LE(alignment, page_bytes());  // the mapping itself starts on a page
  const uint64_t offset = align_up(used_bytes_, alignment);
  CHECK_LE(offset, capacity_bytes_);
  CHECK_LE(bytes, capacity_bytes_ - offset);
  used_bytes_ = offset + bytes;
  return {base_ + offset, bytes};
}

void Arena::release() noexcept {
  if (base_ != nullptr) munmap(base_, capacity_bytes_);
  base_ = nullptr;
}

}  // namespace penstock
