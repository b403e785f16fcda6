// Arithmetic on sizes and alignments, and their text form.
#pragma once

#include <cstdint>
#include <string>

namespace penstock {

inline constexpr uint64_t kKiB = 1024;
inline constexpr uint64_t kMiB = 1024 * kKiB;
inline constexpr uint64_t kGiB = 1024 * kMiB;

// Of a size that a user gives in GiB; below 2^63 bytes.
constexpr uint64_t bytes_of_gib(double gib) { return static_cast<uint64_t>(gib * static_cast<double>(kGiB)); }

// Every tensor of a slab starts on such a border (copy engines, vector loads, ATen's GEMM paths).
inline constexpr uint64_t kTensorAlignment = 256;

// Rounds `value` up to a multiple of `alignment` (> 0).
constexpr uint64_t align_up(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

// a * b; throws Error(kBadInput) naming `what` when the product does not fit 64 bits.
uint64_t checked_multiply(uint64_t a, uint64_t b, const char* what);

// "1.50 GiB", "12.0 MiB", "512 B".
std::string format_bytes(uint64_t bytes);

}  // namespace penstock
