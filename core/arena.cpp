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

Arena::Arena(std::string name, uint64_t bytes, const ArenaOptions& options)
    : name_(std::move(name)), calls_(options.calls) {
  if (bytes == 0) return;
  const uint64_t page = page_bytes();
  if (bytes > static_cast<uint64_t>(INT64_MAX) - kHugePageBytes - page) refuse(name_, bytes, ENOMEM);
  map(align_up(bytes, page));
  try {
    apply(options);
  } catch (...) {  // the notice's
    release();
    throw;
  }
}

// Maps up to one huge page more than is wanted, and gives back what lies before and behind the aligned part.
void Arena::map(uint64_t mapped_bytes) {
  const uint64_t slack_bytes = mapped_bytes < kHugePageBytes ? 0 : kHugePageBytes - page_bytes();
  void* mapping = nullptr;
  if (const int error = calls_->map(&mapping, mapped_bytes + slack_bytes)) refuse(name_, mapped_bytes, error);
  auto* begin = static_cast<std::byte*>(mapping);
  const uint64_t address = reinterpret_cast<uint64_t>(mapping);
  const uint64_t before = slack_bytes == 0 ? 0 : align_up(address, kHugePageBytes) - address;
  const uint64_t behind = slack_bytes - before;
  int error = before == 0 ? 0 : calls_->unmap(begin, before);
  const uint64_t kept_before = error == 0 ? before : 0;
  if (error == 0 && behind > 0) error = calls_->unmap(begin + before + mapped_bytes, behind);
  if (error != 0) {  // the process has too many mappings to cut this one
    calls_->unmap(begin + kept_before, mapped_bytes + slack_bytes - kept_before);
    refuse(name_, mapped_bytes, error);
  }
  base_ = begin + before;
  capacity_bytes_ = mapped_bytes;
}

void Arena::apply(const ArenaOptions& options) {
  const auto note = [&](int error, const char* wish) {
    if (error == 0 || !options.notice) return;
    options.notice(fmt::format("arena '{}': the system refuses {} ({})", name_, wish, std::strerror(error)));
  };
  note(calls_->advise(base_, capacity_bytes_, MADV_DONTFORK), "to leave it out of child processes");
  if (options.huge_pages) {
    note(calls_->advise(base_, capacity_bytes_, MADV_HUGEPAGE), "2 MiB pages; updates will be slower");
  } else {
    calls_->advise(base_, capacity_bytes_, MADV_NOHUGEPAGE);  // refused only where there are none anyway
  }
  if (!options.node) return;
  note(calls_->prefer_node(base_, capacity_bytes_, *options.node),
       fmt::format("to place it on NUMA node {}", *options.node).c_str());
}

Arena::~Arena() { release(); }

Arena::Arena(Arena&& other) noexcept { *this = std::move(other); }

Arena& Arena::operator=(Arena&& other) noexcept {
  if (this == &other) return *this;
  release();
  name_ = std::move(other.name_);
  calls_ = other.calls_;
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
  if (base_ != nullptr) calls_->unmap(base_, capacity_bytes_);
  base_ = nullptr;
}

}  // namespace penstock
