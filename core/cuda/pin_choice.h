// memory.pin into a PinMode, before any memory is mapped.
// Native Linux pins all and falls back only if it must (host_pinning.h). WSL2 pins only a part of the memory, and after
// one refusal refuses even small rings: there `auto` stages, and what the user asks for is tried in a child process.
#pragma once

#include <cstdint>
#include <string>

#include "core/cuda/host_pinning.h"

namespace penstock {

enum class PinRequest : uint8_t { kAuto, kAll, kTransfers, kStaged };

// Tries how much can be pinned, without harm to this process.
class PinProbe {
 public:
  virtual ~PinProbe() = default;
  // The most bytes that could be pinned, at most `wanted_bytes`.
  virtual uint64_t most_pinnable_bytes(uint64_t wanted_bytes) = 0;
};

struct PinChoice {
  PinMode mode;
  std::string notice;  // one line for the user where it is not what was asked for; else empty
};

// `transfer_bytes` is a part of `all_bytes`. The probe is asked on WSL2 only, and only for an explicit request.
PinChoice choose_pin_mode(PinRequest request, bool is_wsl, uint64_t all_bytes, uint64_t transfer_bytes,
                          PinProbe& probe);

}  // namespace penstock
