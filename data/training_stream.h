// The endless sequence of training steps. An epoch shuffles the documents, lays them into rows, and shuffles the rows:
// a long document fills rows on end, and a step of neighbouring rows would see one text instead of many.
//
// Rows never mix epochs (the last row laid is padded), steps do: a step takes the rows it lacks from the next epoch, so
// that every step has M x B rows with documents in them. A step depends on the options and the cursor it starts from
// only: a stream made with the cursor of step n continues with step n + 1, to the bit.
// Invariant: the cursor is canonical: `row` is less than the rows of the epoch.
//
// The whole epoch is planned when it begins, from lengths alone: about 40 B a row, and 24 B for each further document
// in it.
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
  // Indices into the store.
  std::vector<int64_t> document_order(int64_t epoch) const;
  void begin_epoch(int64_t epoch);
  std::vector<Piece> next_row();

  DocumentSelection training_;
  StepShape shape_;
  RowRules rules_;
  uint64_t seed_;
  DataCursor cursor_;
  RowPlan plan_;                    // of the cursor's epoch
  std::vector<int64_t> row_order_;  // indices into plan_
};

}  // namespace penstock
