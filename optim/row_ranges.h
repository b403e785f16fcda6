// Flagged rows of a tensor as ranges of its elements, in whole scale blocks: the granularity at which an update may be
// cut. A block that holds an element of a flagged row belongs to the flagged ranges.
#pragma once

#include <cstdint>
#include <span>

#include "core/layer_layout.h"

namespace penstock {

// Of a tensor, in elements from its first one.
struct ElementRange {
  int64_t begin;
  int64_t end;
};

// The first flagged range within `within`, as long as it goes on; {within.end, within.end} where there is none. One
// flag per row, not zero where flagged. `within` consists of whole scale blocks, the tensor's short last one included.
// Looks at the flags of no row behind it.
ElementRange next_flagged_range(const TensorPlace& tensor, std::span<const uint8_t> row_flags, ElementRange within);

}  // namespace penstock
