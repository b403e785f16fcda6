#include "data/training_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/error.h"
#include "data/shuffle.h"

namespace penstock {

TrainingStream::TrainingStream(DocumentSelection training, const DatasetOptions& options, const DataCursor& start)
    : training_(training),
      shape_{.micro_batches = options.micro_batches, .rows = options.rows, .row_tokens = options.max_seq_len},
      rules_{.row_tokens = options.max_seq_len, .packing = options.packing},
      seed_(options.seed) {
  CHECK(!training_.documents->empty());
  begin_epoch(std::max<int64_t>(start.epoch, 0));
  if (start.epoch < 0 || start.row < 0 || start.row >= plan_.row_count()) {
    throw Error(ExitCode::kBadInput,
                fmt::format("the data cursor (epoch {}, row {}) is outside dataset.path with its {} rows: resume with "
                            "the data, dataset.val_size, dataset.max_seq_len and dataset.packing that the run began "
                            "with",
                            start.epoch, start.row, plan_.row_count()));
  }
  cursor_ = start;
}

std::vector<int64_t> TrainingStream::document_order(int64_t epoch) const {
  std::vector<int64_t> order = document_permutation(std::ssize(*training_.documents), seed_, epoch);
  for (int64_t& document : order) document = (*training_.documents)[static_cast<size_t>(document)];
  return order;
}

void TrainingStream::begin_epoch(int64_t epoch) {
  plan_ = plan_rows(*training_.store, document_order(epoch), rules_);
  row_order_ = row_permutation(plan_.row_count(), seed_, epoch);
  cursor_ = {.epoch = epoch, .row = 0};
}

std::vector<Piece> TrainingStream::next_row() {
  const std::span<const Piece> planned = plan_.row(row_order_[static_cast<size_t>(cursor_.row)]);
  std::vector<Piece> row(planned.begin(), planned.end());  // the plan may end with this row
  if (++cursor_.row == plan_.row_count()) begin_epoch(cursor_.epoch + 1);
  return row;
}

StepBatch TrainingStream::next() {
  StepBatch step = fill_step(*training_.store, shape_, [this] { return next_row(); });
  step.cursor = cursor_;
  return step;
}

int64_t TrainingStream::rows_in_epoch(int64_t epoch) const {
  return count_rows(*training_.store, document_order(epoch), rules_);
}

int64_t TrainingStream::steps_for_epochs(double epochs) const {
  CHECK_GT(epochs, 0.0);
  // Only next fit makes the number of rows depend on the order.
  const bool order_matters = rules_.packing && training_.store->kind() == DocumentKind::kPretokenized;
  const int64_t whole = static_cast<int64_t>(std::floor(epochs));
  int64_t rows_of_epoch = rows_in_epoch(0);
  int64_t rows = 0;
  for (int64_t epoch = 0; epoch < whole; ++epoch) {
    if (order_matters) rows_of_epoch = rows_in_epoch(epoch);
    rows += rows_of_epoch;
  }
  if (order_matters) rows_of_epoch = rows_in_epoch(whole);
  rows += static_cast<int64_t>(std::ceil((epochs - std::floor(epochs)) * static_cast<double>(rows_of_epoch)));
  const int64_t rows_of_step = shape_.micro_batches * shape_.rows;
  return (rows + rows_of_step - 1) / rows_of_step;
}

}  // namespace penstock
