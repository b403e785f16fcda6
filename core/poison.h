// Marks memory whose content must not be read: the debug builds' answer to a slot that is read after its release.
// Every byte becomes 0xFF, which is NaN in fp32 and in bf16, so that a stray read shows up in the loss.
#pragma once

#include <cstddef>

namespace penstock {

inline constexpr std::byte kPoison{0xFF};

}  // namespace penstock
