#include "optim/row_ranges.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"
#include "optim/state_format.h"

namespace penstock {
namespace {

constexpr auto kAlignment = static_cast<int64_t>(kScaleBlockElements);

// Most flags are zero, so eight are looked at together.
int64_t next_flag(std::span<const uint8_t> flags, int64_t row, int64_t end) {
  while (row < end) {
    uint64_t eight = 0;
    if (end - row >= 8) {
      std::memcpy(&eight, flags.data() + row, sizeof(eight));
      if (eight == 0) {
        row += 8;
        continue;
      }
    }
    if (flags[static_cast<size_t>(row)] != 0) return row;
    ++row;
  }
  return end;
}

}  // namespace

ElementRange next_flagged_range(const TensorPlace& tensor, std::span<const uint8_t> row_flags, ElementRange within) {
  CHECK(!row_flags.empty());
  const int64_t row_elements = static_cast<int64_t>(tensor.element_count / row_flags.size());
  const int64_t row_end = (within.end + row_elements - 1) / row_elements;
  ElementRange range{within.end, within.end};
  for (int64_t row = next_flag(row_flags, within.begin / row_elements, row_end); row < row_end;
       row = next_flag(row_flags, row + 1, row_end)) {
    const int64_t begin = std::max(within.begin, row * row_elements / kAlignment * kAlignment);
    if (range.begin == within.end) {
      range.begin = begin;
    } else if (begin > range.end) {
      break;
    }
    range.end = std::min(within.end, ((row + 1) * row_elements + kAlignment - 1) / kAlignment * kAlignment);
  }
  return range;
}

}  // namespace penstock
