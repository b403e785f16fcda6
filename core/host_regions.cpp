#include "core/host_regions.h"

#include <algorithm>

#include "core/bytes.h"
#include "core/check.h"

namespace penstock {

void check_host_regions(std::span<const HostRegion> regions) {
  const std::byte* end = nullptr;
  for (const HostRegion& region : regions) {
    CHECK(!region.bytes.empty());
    CHECK_EQ(reinterpret_cast<uint64_t>(region.bytes.data()) % kHostPageBytes, 0u);
    CHECK(region.bytes.data() >= end);
    end = region.bytes.data() + region.bytes.size();
  }
}

std::vector<std::span<std::byte>> cut_into_pieces(std::span<const HostRegion> regions, bool transfers_only,
                                                  uint64_t piece_bytes) {
  CHECK_GT(piece_bytes, 0u);
  CHECK_EQ(piece_bytes % kHostPageBytes, 0u);
  std::vector<std::span<std::byte>> runs;
  for (const HostRegion& region : regions) {
    if (transfers_only && region.use != HostUse::kTransfers) continue;
    // A mapping ends on a page border, so the rest of the last page is there; the next region starts behind it.
    const std::span<std::byte> pages(region.bytes.data(), align_up(region.bytes.size(), kHostPageBytes));
    if (!runs.empty() && runs.back().data() + runs.back().size() == pages.data()) {
      runs.back() = {runs.back().data(), runs.back().size() + pages.size()};
    } else {
      runs.push_back(pages);
    }
  }
  std::vector<std::span<std::byte>> pieces;
  for (std::span<std::byte> run : runs) {
    while (!run.empty()) {
      const uint64_t bytes = std::min<uint64_t>(run.size(), piece_bytes);
      pieces.push_back(run.first(bytes));
      run = run.subspan(bytes);
    }
  }
  return pieces;
}

}  // namespace penstock
