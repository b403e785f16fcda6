#include "streaming/update_progress.h"

#include <algorithm>

#include "core/check.h"
#include "model/layer_specs.h"

namespace penstock {
namespace {

bool contains(const std::vector<int>& pieces, int piece) {
  return std::find(pieces.begin(), pieces.end(), piece) != pieces.end();
}

}  // namespace

UpdateProgress::UpdateProgress(const RunShape& shape, const ModelMemory& memory)
    : memory_(memory), progress_(memory.layouts().size()), hot_rows_(static_cast<size_t>(shape.model.vocab_size), 0) {
  const uint64_t width = dtype_bytes(wire_dtype(shape.format));
  for (const LayerLayout& layout : memory.layouts()) {
    pieces_.push_back(update_pieces(layout, width, shape.update_piece_bytes));
  }
}

void UpdateProgress::set_hot_rows(std::span<const MicroBatch> batches) {
  for (const LayerProgress& layer : progress_) {
    const bool began_by_rows = !layer.taken.empty() && layer.taken.front() == kHotRows;
    CHECK(!began_by_rows || layer.taken.size() > 1);
  }
  std::fill(hot_rows_.begin(), hot_rows_.end(), uint8_t{0});
  for (const MicroBatch& batch : batches) {
    for (const int32_t token : batch.tokens) {
      CHECK_LT(static_cast<size_t>(token), hot_rows_.size());
      hot_rows_[static_cast<size_t>(token)] = 1;
    }
  }
}

std::vector<UpdatePart> UpdateProgress::take(int layer, int piece, uint64_t update_id) {
  CHECK_LT(static_cast<size_t>(layer), progress_.size());
  LayerProgress& progress = progress_[static_cast<size_t>(layer)];
  if (progress.update_id != update_id) progress = {update_id, {}};
  std::vector<int>& taken = progress.taken;
  if (contains(taken, kWholeLayer) || contains(taken, piece)) return {};

  std::vector<int> wanted{piece};
  if (piece == kWholeLayer && !taken.empty()) {
    wanted = {kHotRows, kColdRows};
    const bool by_rows = taken.front() == kHotRows;
    const std::vector<UpdatePiece>& pieces = pieces_[static_cast<size_t>(layer)];
    if (!by_rows) wanted.clear();
    for (int number = 0; !by_rows && number < std::ssize(pieces); ++number) wanted.push_back(number);
    std::erase_if(wanted, [&](int candidate) { return contains(taken, candidate); });
  }
  taken.push_back(piece);
  std::vector<UpdatePart> parts;
  for (const int missing : wanted) parts.push_back(part(layer, missing));
  return parts;
}

UpdatePart UpdateProgress::part(int layer, int piece) const {
  if (piece == kWholeLayer) return {};
  if (piece == kHotRows || piece == kColdRows) {
    return {.rows = piece == kHotRows ? UpdatePart::Rows::kHot : UpdatePart::Rows::kCold,
            .row_tensor = &embedding_place(memory_.layouts()),
            .hot_rows = hot_rows_};
  }
  const UpdatePiece& blocks = pieces_[static_cast<size_t>(layer)][static_cast<size_t>(piece)];
  return {.first_block = blocks.first_block, .end_block = blocks.end_block};
}

}  // namespace penstock
