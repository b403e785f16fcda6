// Splits a layer's trainable tensors into blocks of fixed size: the unit of work of a thread and of a partial sum.
// Invariants: a block never spans two tensors and never covers padding; borders depend on the layout only, never on
// the number of threads.
#pragma once

#include <cstdint>
#include <vector>

#include "core/layer_layout.h"

namespace penstock {

// 64 Ki elements: 1.7 MB moved per block in `exact`, thousands of blocks in a large layer. The size hardly matters:
// `compact` on AVX-512 with 2 threads takes, in ns per parameter with each thread's blocks contiguous / interleaved,
// 0.275 / 0.311 at 16 Ki, 0.283 / 0.279 at 64 Ki and 0.274 / 0.274 at 256 Ki. Contiguous is what NUMA and first touch
// want.
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
  // The blocks of one of the layout's tensors: [first, end).
  struct BlockRange {
    int64_t first;
    int64_t end;
  };
  BlockRange blocks_of(const TensorPlace& tensor) const;

 private:
  const LayerLayout& layout_;
  std::vector<int64_t> first_blocks_;  // per tensor, and the total at the end
};

}  // namespace penstock
