#include "data/evaluation_stream.h"

#include "core/check.h"

namespace penstock {

EvaluationStream::EvaluationStream(DocumentSelection validation, const DatasetOptions& options)
    : validation_(validation),
      shape_{.micro_batches = options.micro_batches, .rows = options.rows, .row_tokens = options.max_seq_len},
      rules_{.row_tokens = options.max_seq_len, .packing = options.packing} {}

StepBatch EvaluationStream::next() {
  CHECK(!done());
  return fill_step(*validation_.store, shape_, [this] {
    return done() ? std::vector<Piece>{} : plan_row(*validation_.store, *validation_.documents, rules_, place_);
  });
}

int64_t EvaluationStream::step_count() const {
  const int64_t rows_of_step = shape_.micro_batches * shape_.rows;
  const int64_t rows = count_rows(*validation_.store, *validation_.documents, rules_);
  return (rows + rows_of_step - 1) / rows_of_step;
}

}  // namespace penstock
