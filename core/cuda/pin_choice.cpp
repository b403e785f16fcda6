#include "core/cuda/pin_choice.h"

#include <fmt/format.h>

#include "core/bytes.h"
#include "core/check.h"

namespace penstock {

PinChoice choose_pin_mode(PinRequest request, bool is_wsl, uint64_t all_bytes, uint64_t transfer_bytes,
                          PinProbe& probe) {
  CHECK_LE(transfer_bytes, all_bytes);
  if (request == PinRequest::kStaged) return {PinMode::kStaged, ""};
  if (request == PinRequest::kAuto) return {is_wsl ? PinMode::kStaged : PinMode::kAll, ""};
  const PinMode wanted = request == PinRequest::kAll ? PinMode::kAll : PinMode::kTransfers;
  if (!is_wsl) return {wanted, ""};
  const uint64_t wanted_bytes = wanted == PinMode::kAll ? all_bytes : transfer_bytes;
  const uint64_t possible_bytes = probe.most_pinnable_bytes(wanted_bytes);
  if (possible_bytes >= wanted_bytes) return {wanted, ""};
  const PinMode instead = possible_bytes >= transfer_bytes ? PinMode::kTransfers : PinMode::kStaged;
  return {instead, fmt::format("memory.pin: {} needs {} of pinned memory, but WSL2 pins only {}: using {}",
                               pin_mode_name(wanted), format_bytes(wanted_bytes), format_bytes(possible_bytes),
                               pin_mode_name(instead))};
}

}  // namespace penstock
