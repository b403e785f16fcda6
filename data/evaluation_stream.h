// The validation documents, once, in order, laid into rows as in training. Finite; the last step is filled up with
// untrained padding rows, so that every step has the same shape.
#pragma once

#include <cstdint>

#include "data/dataset.h"
#include "data/packing.h"

namespace penstock {

class EvaluationStream {
 public:
  // `validation` outlives the stream.
  EvaluationStream(DocumentSelection validation, const DatasetOptions& options);

  bool done() const { return place_.document == std::ssize(*validation_.documents); }
  // CHECKs that the stream is not done. The step has no cursor: a pass is never resumed.
  StepBatch next();
  // Steps of the whole pass.
  int64_t step_count() const;

 private:
  DocumentSelection validation_;
  StepShape shape_;
  RowRules rules_;
  PackingPlace place_;
};

}  // namespace penstock
