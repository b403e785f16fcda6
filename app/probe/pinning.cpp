#include "app/probe/pinning.h"

#include <array>
#include <cstring>
#include <functional>

namespace penstock {

PinTimes measure_pinning(CudaRuntime& runtime, const CudaDeviceOptions& options, uint64_t bytes,
                         const TurnLimits& limits, const ArenaOptions& memory) {
  if (options.pin == PinMode::kStaged) return {.problem = "this system stages copies: nothing is pinned"};
  Arena arena("probe: pinning", bytes, memory);
  const std::array regions = {HostRegion{arena.allocate(bytes), HostUse::kTransfers}};
  std::memset(regions[0].bytes.data(), 1, bytes);
  bool is_refused = false;
  // A device reports all it has pinned so far, so each sample has its own.
  const std::array<std::function<double()>, 1> cases = {[&] {
    if (is_refused) return 0.0;  // after one refusal a system may refuse even small pins
    CudaDevice device(runtime, options);
    const auto registration = device.register_host(regions);
    is_refused = device.pin_report().mode == PinMode::kStaged;
    return device.pin_report().seconds_per_gib();
  }};
  const double seconds = medians_by_turns(cases, limits).front();
  if (is_refused) return {.problem = "the system refuses to pin " + format_bytes(bytes)};
  return {.seconds_per_gib = seconds};
}

}  // namespace penstock
