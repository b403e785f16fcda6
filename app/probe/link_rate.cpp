#include "app/probe/link_rate.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>

#include "core/bytes.h"
#include "core/check.h"
#include "core/worker_team.h"

namespace penstock {
namespace {

constexpr uint64_t kPieceBytes = 32 * kMiB;  // a card's longest single copy (core/cuda/cuda_device.h)
constexpr uint64_t kSmallBytes = 4 * kKiB;
constexpr uint64_t kSmallCopies = 64;

void copy_way(Device& device, const LinkWay& way, uint64_t piece_bytes) {
  for (uint64_t offset = 0; offset < way.host.size(); offset += piece_bytes) {
    const uint64_t bytes = std::min(piece_bytes, way.host.size() - offset);
    const std::span<std::byte> host = way.host.subspan(offset, bytes);
    const std::span<std::byte> memory = way.device.subspan(offset, bytes);
    const bool is_fetch = way.lane == LaneKind::kFetch;
    device.copy(way.lane, is_fetch ? memory : host, is_fetch ? host : memory);
  }
}

}  // namespace

double copy_seconds(Device& device, std::span<const LinkWay> ways, uint64_t piece_bytes) {
  WorkerTeam issuers(static_cast<int>(ways.size()));  // a fetch of memory that is not pinned blocks its issuer
  device.synchronize_all();
  return seconds_of([&] {
    issuers.run(static_cast<int64_t>(ways.size()),
                [&](int64_t i) { copy_way(device, ways[static_cast<size_t>(i)], piece_bytes); });
    device.synchronize_all();
  });
}

LinkRates measure_link(Device& device, uint64_t bytes, const TurnLimits& limits, const ArenaOptions& options) {
  CHECK_GE(bytes, kSmallCopies * kSmallBytes);
  Arena arena("probe: link", 2 * bytes, options);
  const std::span<std::byte> host = arena.allocate(2 * bytes);
  std::memset(host.data(), 1, host.size());  // untouched pages all read from one page of zeros
  const std::array regions = {HostRegion{host, HostUse::kTransfers}};
  const auto registration = device.register_host(regions);
  const std::span<std::byte> memory = device.allocate("probe: link", 2 * bytes);
  const std::array ways = {LinkWay{LaneKind::kFetch, host.first(bytes), memory.first(bytes)},
                           LinkWay{LaneKind::kOffload, host.last(bytes), memory.last(bytes)}};
  const uint64_t small = kSmallCopies * kSmallBytes;
  const std::array small_way = {LinkWay{LaneKind::kFetch, host.first(small), memory.first(small)}};
  const std::span<const LinkWay> both(ways);

  const std::array<std::function<double()>, 4> cases = {
      [&] { return copy_seconds(device, both.first(1), kPieceBytes); },
      [&] { return copy_seconds(device, both.last(1), kPieceBytes); },
      [&] { return copy_seconds(device, both, kPieceBytes); },
      [&] { return copy_seconds(device, small_way, kSmallBytes); }};
  for (const auto& warm_up : cases) warm_up();
  const std::vector<double> seconds = medians_by_turns(cases, limits);
  device.drain();
  const double gigabytes = static_cast<double>(bytes) * 1e-9;
  return {.bytes = bytes,
          .h2d_gbps = gigabytes / seconds[0],
          .d2h_gbps = gigabytes / seconds[1],
          .both_gbps = 2 * gigabytes / seconds[2],
          .latency_us = seconds[3] / static_cast<double>(kSmallCopies) * 1e6};
}

}  // namespace penstock
