// One micro-batch as the layers see it: [B, T] tokens flattened row by row. A view: the batch outlives the step.
// The numbers exist twice: on the host, for who decides what to launch, and in device memory, for what is launched.
#pragma once

#include <cstdint>
#include <span>

namespace penstock {

inline constexpr int32_t kUntrainedTarget = -100;

// The same arrays in device memory, in the same order and extents.
struct DeviceBatch {
  const int32_t* positions = nullptr;
  const int32_t* targets = nullptr;
  const int32_t* segment_starts = nullptr;
};

struct BatchView {
  int64_t rows = 0;                         // B
  int64_t length = 0;                       // T
  std::span<const int32_t> positions;       // [B*T], restart at 0 with every document
  std::span<const int32_t> targets;         // [B*T], kUntrainedTarget where nothing is trained; empty without a loss
  std::span<const int32_t> segment_starts;  // ascending, first 0, last B*T; a segment is one document's part of one row
  DeviceBatch device = {};
};

// For devices whose memory is the host's.
inline BatchView in_host_memory(BatchView batch) {
  batch.device = {batch.positions.data(), batch.targets.data(), batch.segment_starts.data()};
  return batch;
}

}  // namespace penstock
