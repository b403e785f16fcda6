// What the system sets for this process and this machine beyond free memory: resource limits, 2 MiB pages, the clock's
// policy, and which NUMA node a device hangs on. Readers only; `root` stands for "/" in tests.
// Not a judge: run_fit refuses what does not fit, doctor says what costs speed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace penstock {

// Soft limits of this process (getrlimit); UINT64_MAX: unlimited, or not told.
struct SystemLimits {
  uint64_t memlock_bytes = UINT64_MAX;        // RLIMIT_MEMLOCK
  uint64_t address_space_bytes = UINT64_MAX;  // RLIMIT_AS: everything mapped
  uint64_t data_bytes = UINT64_MAX;           // RLIMIT_DATA: what is mapped private and writable, as arenas are
};
SystemLimits read_system_limits();

// What this process has mapped of two of those limits (/proc/self/status); 0 where the system does not tell.
struct MappedBytes {
  uint64_t address_space_bytes = 0;  // VmSize
  uint64_t data_bytes = 0;           // VmData
};
MappedBytes read_mapped_bytes(const std::filesystem::path& root = "/");

// What is still free of each of those two limits, and which binds: "RLIMIT_AS (ulimit -v)". UINT64_MAX: none is set.
struct MappingLimit {
  uint64_t available_bytes = UINT64_MAX;
  std::string source;
};
MappingLimit read_mapping_limit(const SystemLimits& limits, const MappedBytes& mapped);

// /sys/kernel/mm/transparent_hugepage/enabled. With kMadvise arenas get 2 MiB pages because they ask; with kNever or
// kUnknown (no such file: a kernel without them, or a container that hides it) they may not.
enum class HugePages : uint8_t { kAlways, kMadvise, kNever, kUnknown };
HugePages read_huge_pages(const std::filesystem::path& root = "/");

// Of the first CPU: "performance", "powersave" ...; empty where the system does not tell (virtual machines).
std::string read_governor(const std::filesystem::path& root = "/");

// The NUMA node of a PCI device such as "0000:65:00.0", as numactl counts; nullopt where the system does not tell, or
// has but one.
std::optional<int> read_device_node(const std::string& pci_address, const std::filesystem::path& root = "/");

}  // namespace penstock
