#include "streaming/update_pieces.h"

#include <algorithm>

#include "optim/fixed_blocks.h"

namespace penstock {

std::vector<UpdatePiece> update_pieces(const LayerLayout& layout, uint64_t wire_bytes, uint64_t piece_bytes) {
  const FixedBlocks blocks(layout);
  const uint64_t least_elements =
      std::max({piece_bytes / wire_bytes, layout.slab_elements() / kMostUpdatePieces, uint64_t{1}});
  std::vector<UpdatePiece> pieces;
  for (int64_t block = 0; block < blocks.block_count(); ++block) {
    const uint64_t begin = block == 0 ? 0 : blocks.block(block).slab_offset();
    if (pieces.empty() || begin - pieces.back().first_element >= least_elements) {
      if (!pieces.empty()) pieces.back().end_element = begin;
      pieces.push_back({block, block, begin, begin});
    }
    pieces.back().end_block = block + 1;
  }
  if (!pieces.empty()) pieces.back().end_element = layout.slab_elements();
  return pieces;
}

}  // namespace penstock
