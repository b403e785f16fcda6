// How much host memory this process may still take: the smallest of what the kernel has and what every control group
// above the process allows. Asked before anything is allocated.
// Not exact: other processes take memory too. Swap does not count.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace penstock {

struct HostMemory {
  uint64_t available_bytes;  // UINT64_MAX where the system tells nothing
  std::string source;        // the binding limit, for messages: "MemAvailable of /proc/meminfo", ".../memory.max"
};

// One limit of a control group above the process.
struct GroupLimit {
  std::string path;  // of the file that sets it, as the user knows it: "/sys/fs/cgroup/a/memory.max"
  uint64_t limit_bytes;
  uint64_t available_bytes;  // the limit minus the use, as below
};
// Every one that is set, from the mount's top down, both versions.
std::vector<GroupLimit> read_group_limits(const std::filesystem::path& root = "/");

// Reads, below `root`: MemAvailable of /proc/meminfo; and, for the process's group and every ancestor, the limit minus
// the use (page cache that can be dropped at once, memory.stat's inactive_file, does not count as use). Both versions:
// memory.max and memory.current; memory.limit_in_bytes and memory.usage_in_bytes. Files that are absent or unreadable
// set no limit.
HostMemory read_host_memory(const std::filesystem::path& root = "/");

}  // namespace penstock
