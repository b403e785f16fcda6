// Where a layer's update and its fetch are cut so that they chase each other: the fetch of a piece goes on while the
// next is updated, and the first block's forward waits for one piece less than the whole layer. Not about results: any
// cut gives the same bits. Invariants: pieces are whole fixed blocks of the optimizer, in slab order, and cover the
// slab without a gap; the last one holds the layer's frozen tensors too.
#pragma once

#include <cstdint>
#include <vector>

#include "core/bytes.h"
#include "core/layer_layout.h"

namespace penstock {

// 16 Mi bf16 weights: some 7 ms of update at 65 GB/s and 1.3 ms of fetch at 25 GB/s, against microseconds for the two
// ops it adds.
inline constexpr uint64_t kUpdatePieceBytes = 32 * kMiB;
inline constexpr uint64_t kMostUpdatePieces = 16;  // of one layer, so that huge layers do not flood the schedule

struct UpdatePiece {
  int64_t first_block;  // of FixedBlocks
  int64_t end_block;
  uint64_t first_element;  // of the slab
  uint64_t end_element;
};

// Pieces of at least `piece_bytes` of wire weights (the last may be smaller) at `wire_bytes` an element. One where the
// layer is no larger; none where it has no trained tensor.
std::vector<UpdatePiece> update_pieces(const LayerLayout& layout, uint64_t wire_bytes, uint64_t piece_bytes);

}  // namespace penstock
