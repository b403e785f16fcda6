// Where the random bits of stochastic rounding come from: Philox 4x32-7 under key `seed`, counter (element / 4 in 64
// bits, layer, update); philox_lanes.h has which word an element gets. Of an element's 32 bits the master takes the
// lower 16; v takes the rest in `compact`; in `compact8` m takes the next 8, and v the last 8 (with m's below them,
// where they only decide one rounding in 256).
#pragma once

#include <cstdint>

namespace penstock {

struct RoundingSource {
  uint64_t seed = 0;
  uint32_t layer = 0;
  uint32_t update = 0;
};

// Elements from `first_element` on whose counters have one upper half, at most `count`: practically always all of them.
constexpr int64_t elements_of_one_upper_half(uint64_t first_element, int64_t count) {
  constexpr uint64_t kElements = uint64_t{4} << 32;
  const uint64_t left = kElements - first_element % kElements;
  return left < static_cast<uint64_t>(count) ? static_cast<int64_t>(left) : count;
}

}  // namespace penstock
