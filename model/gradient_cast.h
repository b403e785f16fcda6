// The one cast of a gradient, from the fp32 slot to the bf16 that leaves the device. 6 bytes moved per element.
#pragma once

#include <cstddef>
#include <span>

namespace penstock {

// Rounds to nearest even. `to` has 2 bytes for every element of `from`. Compute lane only.
void pack_bf16(std::span<const float> from, std::span<std::byte> to);

}  // namespace penstock
