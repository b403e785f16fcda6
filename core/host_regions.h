// The host memory that a device is told about before copies touch it (Device::register_host()).
// Not the registration itself: only which bytes, in which order, and in which pieces they are pinned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/device.h"

namespace penstock {

// What a system pins at once; the smallest page of every system we run on.
inline constexpr uint64_t kHostPageBytes = 4096;

// CHECKs what register_host() asks of its callers: regions are not empty, start on pages, ascend by address and do not
// overlap.
void check_host_regions(std::span<const HostRegion> regions);

// The regions to pin as whole pages in ascending order: regions that touch after rounding up to pages are one, and one
// is cut into pieces of at most `piece_bytes` (a multiple of the page). `transfers_only` leaves HostUse::kState out.
std::vector<std::span<std::byte>> cut_into_pieces(std::span<const HostRegion> regions, bool transfers_only,
                                                  uint64_t piece_bytes);

}  // namespace penstock
