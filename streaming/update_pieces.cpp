#include "streaming/update_pieces.h"

#include <algorithm>

#include "optim/fixed_blocks.h"

namespace penstock {
namespace {

// The first block from `block` on that starts at `element` or behind it; the number of blocks where none does. Found by
// halving: a large model has millions of blocks, and plans are made by the dozen.
int64_t first_block_from(const FixedBlocks& blocks, int64_t block, uint64_t element) {
  int64_t end = blocks.block_count();
  while (block < end) {
    const int64_t middle = block + (end - block) / 2;
    if (blocks.block(middle).slab_offset() < element) {
      block = middle + 1;
    } else {
      end = middle;
    }
  }
  return block;
}

}  // namespace

std::vector<UpdatePiece> update_pieces(const LayerLayout& layout, uint64_t wire_bytes, uint64_t piece_bytes) {
  const FixedBlocks blocks(layout);
  const uint64_t least_elements =
      std::max({piece_bytes / wire_bytes, layout.slab_elements() / kMostUpdatePieces, uint64_t{1}});
  std::vector<UpdatePiece> pieces;
  uint64_t begin = 0;
  for (int64_t block = 0; block < blocks.block_count();) {
    const int64_t end = first_block_from(blocks, block + 1, begin + least_elements);
    const bool is_last = end == blocks.block_count();
    const uint64_t end_element = is_last ? layout.slab_elements() : blocks.block(end).slab_offset();
    pieces.push_back({block, end, begin, end_element});
    block = end;
    begin = end_element;
  }
  return pieces;
}

}  // namespace penstock
