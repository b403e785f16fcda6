// Splits a layer's trainable tensors into blocks of fixed size: the unit of work of a thread and of a partial sum.
// Invariants: a block never spans two tensors and never covers padding; borders depend on the layout only, never on
// the number of threads.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/layer_layout.h"

namespace penstock {

// 64 Ki elements: 1.7 MB moved per block in `exact`, thousands of blocks in a large layer.
inline constexpr int64_t kBlockElements = 65536;

struct Block {
  const TensorPlace* tensor;
  int64_t begin;  // in elements from the tensor's first one
  int64_t end;

  uint64_t slab_offset() const { return tensor->offset + static_cast<uint64_t>(begin); }
  int64_t element_count() const { return end - begin; }
};

class FixedBlocks {
 public:
  explicit FixedBlocks(const LayerLayout& layout);

  int64_t block_count() const { return first_blocks_.back(); }
  Block block(int64_t index) const;

 private:
  const LayerLayout& layout_;
  std::vector<int64_t> first_blocks_;  // per tensor, and the total at the end
};

// A run of whole or cut rows that are all touched or all not; positions count from the block's first element.
struct RowRun {
  int64_t begin;
  int64_t end;
  bool touched;
};

// The longest run that starts at `begin`. Without `touched_rows` that is the rest of the block, touched.
RowRun row_run_at(const Block& block, int64_t begin, std::span<const uint8_t> touched_rows);

}  // namespace penstock
