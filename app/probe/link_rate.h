// What the link between host and device moves, each way alone and both at once, through the Device contract: the
// emulated link of a host device, the real one of a card, pinned or staged.
// The clock is the host's, from the first call until the device is idle: one way to time all of them. A load of 256 MiB
// takes 10 ms at 25 GB/s, waking up for it some 20 us.
#pragma once

#include <cstdint>
#include <span>

#include "app/probe/turns.h"
#include "core/arena.h"
#include "core/device.h"

namespace penstock {

struct LinkRates {
  uint64_t bytes = 0;  // of one load
  double h2d_gbps = 0;
  double d2h_gbps = 0;
  double both_gbps = 0;   // at once, summed: h2d + d2h is full duplex
  double latency_us = 0;  // of a copy of 4 KiB among many
};

// One direction between two memories of one size; `host` is registered with the device.
struct LinkWay {
  LaneKind lane;  // fetch or offload
  std::span<std::byte> host;
  std::span<std::byte> device;
};

// Seconds for copying every way's memory in pieces, all ways at once; the device is idle before and after.
double copy_seconds(Device& device, std::span<const LinkWay> ways, uint64_t piece_bytes);

// Takes 2 * bytes of the device's memory and 2 * bytes of the host's, which come from where `memory` says. Throws
// Error(kDoesNotFit), Error(kDevice).
LinkRates measure_link(Device& device, uint64_t bytes, const TurnLimits& limits, const ArenaOptions& memory = {});

}  // namespace penstock
