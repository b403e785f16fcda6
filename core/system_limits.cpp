#include "core/system_limits.h"

#include <sys/resource.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <sstream>

#include "core/bytes.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

uint64_t soft_limit(__rlimit_resource_t resource) {
  rlimit limit = {};
  if (getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return UINT64_MAX;
  return limit.rlim_cur;
}

std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

uint64_t left_of(uint64_t limit_bytes, uint64_t used_bytes) {
  return limit_bytes == UINT64_MAX ? UINT64_MAX : limit_bytes - std::min(limit_bytes, used_bytes);
}

}  // namespace

SystemLimits read_system_limits() {
  return {.memlock_bytes = soft_limit(RLIMIT_MEMLOCK),
          .address_space_bytes = soft_limit(RLIMIT_AS),
          .data_bytes = soft_limit(RLIMIT_DATA)};
}

MappedBytes read_mapped_bytes(const fs::path& root) {
  MappedBytes mapped;
  std::ifstream file(root / "proc/self/status");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string key;
    uint64_t kilobytes = 0;
    if (!(words >> key >> kilobytes)) continue;
    if (key == "VmSize:") mapped.address_space_bytes = kilobytes * kKiB;
    if (key == "VmData:") mapped.data_bytes = kilobytes * kKiB;
  }
  return mapped;
}

MappingLimit read_mapping_limit(const SystemLimits& limits, const MappedBytes& mapped) {
  const uint64_t address_space = left_of(limits.address_space_bytes, mapped.address_space_bytes);
  const uint64_t data = left_of(limits.data_bytes, mapped.data_bytes);
  if (address_space == UINT64_MAX && data == UINT64_MAX) return {};
  if (address_space <= data) return {address_space, "RLIMIT_AS (ulimit -v)"};
  return {data, "RLIMIT_DATA (ulimit -d)"};
}

HugePages read_huge_pages(const fs::path& root) {
  const std::string line = first_line(root / "sys/kernel/mm/transparent_hugepage/enabled");  // always [madvise] never
  if (line.find("[always]") != std::string::npos) return HugePages::kAlways;
  if (line.find("[madvise]") != std::string::npos) return HugePages::kMadvise;
  if (line.find("[never]") != std::string::npos) return HugePages::kNever;
  return HugePages::kUnknown;
}

std::string read_governor(const fs::path& root) {
  return first_line(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
}

std::optional<int> read_device_node(const std::string& pci_address, const fs::path& root) {
  std::string name = pci_address;  // sysfs writes it in lower case
  std::ranges::transform(name, name.begin(), [](unsigned char letter) { return std::tolower(letter); });
  std::istringstream line(first_line(root / "sys/bus/pci/devices" / name / "numa_node"));
  int node = -1;
  if (!(line >> node) || node < 0) return std::nullopt;  // -1: a machine of one node
  return node;
}

}  // namespace penstock
