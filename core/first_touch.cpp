#include "core/first_touch.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/arena.h"
#include "core/check.h"
#include "core/error.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // Linux 5.14; an older one answers EINVAL
#endif

namespace penstock {
namespace {

constexpr uint64_t kSmallPageBytes = 4096;

void write_each_page(std::span<std::byte> bytes) {
  for (uint64_t offset = 0; offset < bytes.size(); offset += kSmallPageBytes) {
    // Volatile: a store of what is there already must not be left out.
    volatile std::byte& first = bytes[offset];
    first = first;
  }
}

// One call instead of one fault per page, and a refusal is an error instead of a signal.
void populate(std::span<std::byte> bytes, HostMemoryCalls& calls) {
  const int error = calls.advise(bytes.data(), align_up(bytes.size(), kSmallPageBytes), MADV_POPULATE_WRITE);
  if (error == 0) return;
  if (error == EINVAL) return write_each_page(bytes);
  throw Error(ExitCode::kDoesNotFit, fmt::format("host memory: the system has mapped it and now refuses pages ({}); "
                                                 "free memory or use smaller settings",
                                                 std::strerror(error)));
}

void require_left(uint64_t wanted_bytes, uint64_t done_bytes, const TouchOptions& options) {
  const HostMemory memory = options.available();
  if (wanted_bytes <= memory.available_bytes) return;
  throw Error(ExitCode::kDoesNotFit,
              fmt::format("host memory: {} of the run's memory are there, {} are still needed, and {} leaves {}: other "
                          "processes have taken memory since the start; stop them or use smaller settings",
                          format_bytes(done_bytes), format_bytes(wanted_bytes), memory.source,
                          format_bytes(memory.available_bytes)));
}

// Pieces end where huge pages do, so that no two members fill the same one.
void touch_part(std::span<std::byte> part, WorkerTeam& team, HostMemoryCalls& calls) {
  const uint64_t address = reinterpret_cast<uint64_t>(part.data());
  const uint64_t first_page = address / kHugePageBytes;
  const uint64_t end_page = align_up(address + part.size(), kHugePageBytes) / kHugePageBytes;
  team.run(static_cast<int64_t>(end_page - first_page), [&](int64_t index) {
    const uint64_t page = first_page + static_cast<uint64_t>(index);
    const uint64_t begin = std::max(page * kHugePageBytes, address) - address;
    const uint64_t end = std::min((page + 1) * kHugePageBytes - address, part.size());
    populate(part.subspan(begin, end - begin), calls);
  });
}

}  // namespace

void touch_fresh(const std::vector<std::span<std::byte>>& regions, WorkerTeam& team, const TouchOptions& options) {
  CHECK_GT(options.step_bytes, 0u);
  uint64_t total_bytes = 0, done_bytes = 0, step_left_bytes = 0;
  for (const std::span<std::byte> region : regions) total_bytes += region.size();
  for (std::span<std::byte> region : regions) {
    CHECK_EQ(reinterpret_cast<uint64_t>(region.data()) % kSmallPageBytes, 0u);
    while (!region.empty()) {
      if (step_left_bytes == 0) {
        require_left(total_bytes - done_bytes, done_bytes, options);
        step_left_bytes = options.step_bytes;
      }
      const uint64_t bytes = std::min<uint64_t>(region.size(), align_up(step_left_bytes, kHugePageBytes));
      touch_part(region.first(bytes), team, *options.calls);
      region = region.subspan(bytes);
      done_bytes += bytes;
      step_left_bytes -= std::min(step_left_bytes, bytes);
      const bool ends_step = step_left_bytes == 0 || done_bytes == total_bytes;
      if (ends_step && options.progress) options.progress(done_bytes, total_bytes);
    }
  }
}

}  // namespace penstock
