// What each layer has taken of the newest update. A layer takes each update once, piece by piece or as a whole: when a
// step dies among its pending updates, the drain that must follow does the rest: no step with other tokens may come
// between.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/step_batch.h"
#include "optim/host_optimizer.h"
#include "streaming/model_memory.h"
#include "streaming/run_plan.h"

namespace penstock {

class UpdateProgress {
 public:
  // `memory` must outlive this.
  UpdateProgress(const RunShape& shape, const ModelMemory& memory);

  // Names the rows of the embedding that come first: those of the tokens. Valid until the next call. CHECKs that no
  // update is half done by other rows.
  void set_hot_rows(std::span<const MicroBatch> batches);

  // The parts of the update that `piece` of the layer (or all of it) still lacks; they count as taken from here on.
  std::vector<UpdatePart> take(int layer, int piece, uint64_t update_id);

 private:
  struct LayerProgress {
    uint64_t update_id = 0;
    std::vector<int> taken;  // pieces
  };

  UpdatePart part(int layer, int piece) const;

  const ModelMemory& memory_;
  std::vector<std::vector<UpdatePiece>> pieces_;  // by layer
  std::vector<LayerProgress> progress_;
  std::vector<uint8_t> hot_rows_;  // one per row of the embedding
};

}  // namespace penstock
