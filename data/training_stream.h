// The endless sequence of training steps: epochs of shuffled documents, laid into rows.
//
// Rows never mix epochs (the last row of an epoch is padded), steps do: a step takes the rows it lacks from the next
// epoch, so that every step has M x B rows with documents in them. A step depends on the options and the cursor it
// starts from only: a stream made with the cursor of step n continues with step n + 1, to the bit.
// Invariant: the cursor is canonical: `document` is less than the count and `offset` less than the document's tokens.
#pragma once

#include <cstdint>
#include <vector>

#include "data/dataset.h"
#include "data/packing.h"

namespace penstock {

class TrainingStream {
 public:
  // `training` has at least one document (Dataset sees to it) and outlives the stream. Throws Error(kBadInput) for a
  // cursor that these documents cannot have produced.
  TrainingStream(DocumentSelection training, const DatasetOptions& options, const DataCursor& start = {});

  // A step may have no trained target at all (labels of -100): that is the trainer's to log.
  StepBatch next();

  int64_t rows_in_epoch(int64_t epoch) const;
  // Steps until `epochs` (> 0, may be fractional) are through; the last one may reach into the epoch that follows.
  int64_t steps_for_epochs(double epochs) const;

 private:
  std::vector<int64_t> epoch_order(int64_t epoch) const;
  std::vector<Piece> next_row();

  DocumentSelection training_;
  StepShape shape_;
  RowRules rules_;
  uint64_t seed_;
  int64_t epoch_;
  PackingPlace place_;
  std::vector<int64_t> order_;  // of epoch_, as indices into the store
};

}  // namespace penstock
