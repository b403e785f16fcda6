#include "app/probe/host_ram.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

#include "core/bytes.h"

namespace penstock {

HostRam read_host_ram(const std::filesystem::path& root) {
  std::ifstream file(root / "proc/meminfo");
  uint64_t total = 0, swap = 0, free_swap = 0;  // KiB
  std::string key;
  uint64_t kilobytes = 0;
  while (file >> key >> kilobytes) {
    if (key == "MemTotal:") total = kilobytes;
    if (key == "SwapTotal:") swap = kilobytes;
    if (key == "SwapFree:") free_swap = kilobytes;
    file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return {.total_bytes = total * kKiB, .swapped_bytes = (swap - std::min(swap, free_swap)) * kKiB};
}

}  // namespace penstock
