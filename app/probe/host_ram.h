// How much RAM the machine has, whoever uses it, and whether it has begun to swap.
// Not what this process may still take: core/system_memory.h.
#pragma once

#include <cstdint>
#include <filesystem>

namespace penstock {

struct HostRam {
  uint64_t total_bytes = 0;    // 0: unknown
  uint64_t swapped_bytes = 0;  // of all processes, in swap now
};

// Reads proc/meminfo below `root`.
HostRam read_host_ram(const std::filesystem::path& root = "/");

}  // namespace penstock
