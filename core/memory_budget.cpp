#include "core/memory_budget.h"

#include <fmt/format.h>

#include "core/bytes.h"
#include "core/check.h"

namespace penstock {

Error arena_refusal(std::string_view name, uint64_t bytes, const MemoryUse& use) {
  return Error(ExitCode::kDoesNotFit,
               fmt::format("device memory: '{}' needs {}, but {} of the budget of {} are in use; raise "
                           "device.memory_gb or use smaller settings",
                           name, format_bytes(bytes), format_bytes(use.arena_bytes + use.temporary_bytes),
                           format_bytes(use.budget_bytes)));
}

bool MemoryBudget::reserve(uint64_t bytes) {
  uint64_t reserved = reserved_bytes_.load();
  do {
    if (bytes > limit_bytes_ - reserved) return false;
  } while (!reserved_bytes_.compare_exchange_weak(reserved, reserved + bytes));
  return true;
}

bool MemoryBudget::take_arena(uint64_t bytes) {
  if (!reserve(bytes)) return false;
  arena_bytes_ += bytes;
  return true;
}

void MemoryBudget::give_back_arena(uint64_t bytes) {
  CHECK_GE(arena_bytes_.fetch_sub(bytes), bytes);
  reserved_bytes_ -= bytes;
}

bool MemoryBudget::charge_temporary(int64_t bytes) {
  if (bytes <= 0) {
    const uint64_t freed = uint64_t{0} - static_cast<uint64_t>(bytes);
    CHECK_GE(temporary_bytes_.fetch_sub(freed), freed);  // more given back than was charged
    reserved_bytes_ -= freed;
    return true;
  }
  const uint64_t charged = static_cast<uint64_t>(bytes);
  if (!reserve(charged)) return false;
  const uint64_t now = temporary_bytes_.fetch_add(charged) + charged;
  uint64_t peak = temporary_peak_bytes_.load();
  while (now > peak && !temporary_peak_bytes_.compare_exchange_weak(peak, now)) {
  }
  return true;
}

MemoryUse MemoryBudget::use() const {
  return {.budget_bytes = limit_bytes_,
          .arena_bytes = arena_bytes_.load(),
          .temporary_bytes = temporary_bytes_.load(),
          .temporary_peak_bytes = temporary_peak_bytes_.load()};
}

}  // namespace penstock
