// The random bits of stochastic rounding and the rounding itself, written plainly.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "core/bf16.h"
#include "optim/host_optimizer.h"

namespace penstock {

// Random bits of an element: Philox 4x32-7, words 1, 3, 0, 2 of block element / 4 to its four elements.
inline uint32_t reference_random(const AdamWStep& step, uint64_t element) {
  const uint64_t block = element / 4;
  std::array<uint64_t, 4> x = {block & 0xffffffff, block >> 32, step.layer, static_cast<uint64_t>(step.update_count)};
  uint64_t key0 = step.seed & 0xffffffff;
  uint64_t key1 = step.seed >> 32;
  for (int round = 0; round < 7; ++round) {
    const uint64_t a = 0xD2511F53 * x[0];
    const uint64_t b = 0xCD9E8D57 * x[2];
    x = {(b >> 32) ^ x[1] ^ key0, b & 0xffffffff, (a >> 32) ^ x[3] ^ key1, a & 0xffffffff};
    key0 = (key0 + 0x9E3779B9) & 0xffffffff;
    key1 = (key1 + 0xBB67AE85) & 0xffffffff;
  }
  constexpr size_t kWords[4] = {1, 3, 0, 2};
  return static_cast<uint32_t>(x[kWords[element % 4]]);
}

// The bf16 below the magnitude, or the one above if `added` (of 65,536) reaches into it.
inline bf16_bits reference_round(float value, uint32_t added) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint64_t magnitude = (uint64_t{bits & 0x7fffffffu} + added) / 65536;
  return static_cast<bf16_bits>(bits / 0x80000000u * 0x8000u + magnitude);
}

}  // namespace penstock
