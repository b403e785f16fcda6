#include "core/bytes.h"

#include <fmt/format.h>

#include "core/error.h"

namespace penstock {

uint64_t checked_multiply(uint64_t a, uint64_t b, const char* what) {
  uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) {
    throw Error(ExitCode::kBadInput, fmt::format("{}: {} x {} does not fit 64 bits; use a smaller size", what, a, b));
  }
  return product;
}

std::string format_bytes(uint64_t bytes) {
  if (bytes < kKiB) return fmt::format("{} B", bytes);
  static constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes) / kKiB;
  size_t unit = 0;
  // 1023.5 would print as 1024 of the smaller unit.
  while (value >= 1023.5 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  const int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;  // three digits in all
  return fmt::format("{:.{}f} {}", value, decimals, kUnits[unit]);
}

}  // namespace penstock
