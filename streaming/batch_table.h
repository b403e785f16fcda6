// A micro-batch's positions, targets and segment starts as they travel to the device: behind the embedding rows in host
// staging, then into a device buffer of their own, which every compute op on the micro-batch reads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "model/batch_view.h"

namespace penstock {

class BatchTable {
 public:
  // For micro-batches of at most so many tokens.
  explicit BatchTable(int64_t most_tokens) : most_tokens_(most_tokens) {}

  uint64_t bytes() const;
  // CHECKs that the batch is not larger than that.
  void write(const BatchView& batch, std::span<std::byte> table) const;
  // `batch` with its device arrays in `table`.
  BatchView on_device(BatchView batch, std::span<const std::byte> table) const;

 private:
  uint64_t targets_offset() const;
  uint64_t segments_offset() const;

  int64_t most_tokens_;
};

}  // namespace penstock
