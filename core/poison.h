// Marks memory whose content must not be read: the debug builds' answer to a slot that is read after its release.
// Every byte becomes 0xFF, which is NaN in fp32 and in bf16, so that a stray read shows up in the loss.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

namespace penstock {

inline void poison(std::span<std::byte> bytes) { std::ranges::fill(bytes, std::byte{0xFF}); }

}  // namespace penstock
