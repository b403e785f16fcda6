#include "app/probe/first_touch.h"

#include <algorithm>
#include <functional>
#include <span>
#include <vector>

#include "core/arena.h"
#include "core/bytes.h"
#include "core/first_touch.h"
#include "core/worker_team.h"

namespace penstock {
namespace {

double touch_seconds_per_gib(uint64_t bytes, int threads, bool huge_pages) {
  Arena arena("probe: first touch", bytes, {.huge_pages = huge_pages});
  const std::span<std::byte> memory = arena.allocate(bytes);
  WorkerTeam team(threads);
  // The probe has looked at free memory before it chose the size.
  const TouchOptions options{.available = [] { return HostMemory{UINT64_MAX, ""}; }};
  const double seconds = seconds_of([&] { touch_fresh({memory}, team, options); });
  return seconds * static_cast<double>(kGiB) / static_cast<double>(bytes);
}

}  // namespace

FirstTouchTimes measure_first_touch(uint64_t bytes, int threads, const TurnLimits& limits) {
  const uint64_t whole = std::max(bytes / kHugePageBytes, uint64_t{1}) * kHugePageBytes;
  std::vector<std::function<double()>> cases;
  for (const bool huge_pages : {true, false}) {
    for (const int count : {1, threads}) {
      cases.push_back([=] { return touch_seconds_per_gib(whole, count, huge_pages); });
    }
  }
  const std::vector<double> seconds = medians_by_turns(cases, limits);
  return {.threads = threads,
          .one_thread_huge = seconds[0],
          .all_threads_huge = seconds[1],
          .one_thread_small = seconds[2],
          .all_threads_small = seconds[3]};
}

}  // namespace penstock
