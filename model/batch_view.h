// One micro-batch as the layers see it: [B, T] tokens flattened row by row. A view: the batch outlives the step.
#pragma once

#include <cstdint>
#include <span>

namespace penstock {

inline constexpr int32_t kUntrainedTarget = -100;

struct BatchView {
  int64_t rows = 0;    // B
  int64_t length = 0;  // T
  std::span<const int32_t> positions;       // [B*T], restart at 0 with every document
  std::span<const int32_t> targets;         // [B*T], kUntrainedTarget where nothing is trained; empty without a loss
  std::span<const int32_t> segment_starts;  // ascending, first 0, last B*T; a segment is one document's part of one row
};

}  // namespace penstock
