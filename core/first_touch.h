// First touch of fresh memory by all threads of a team: the kernel zeroes every page once, where and by whom is decided
// here instead of in the first step or, one thread at a time, while pinning.
// Moves 1 byte to memory per byte touched. Member i takes the i-th part of each step.
// Values of pages that are there already stay.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/bytes.h"
#include "core/host_memory_calls.h"
#include "core/system_memory.h"
#include "core/worker_team.h"

namespace penstock {

struct TouchOptions {
  uint64_t step_bytes = kGiB;  // the system's free memory is looked at again after every such step
  std::function<HostMemory()> available = [] { return read_host_memory(); };
  std::function<void(uint64_t done_bytes, uint64_t total_bytes)> progress = {};  // after every step
  HostMemoryCalls* calls = &system_host_memory();
};

// Each region starts on a page. Throws Error(kDoesNotFit) before a step where what is still to come is more than what
// the system has left (others may have taken it since the plan was checked), and where the system refuses pages.
void touch_fresh(const std::vector<std::span<std::byte>>& regions, WorkerTeam& team, const TouchOptions& options = {});

}  // namespace penstock
