#include "data/training_stream.h"

#include <fmt/format.h>

#include <cmath>

#include "core/check.h"
#include "core/error.h"
#include "data/shuffle.h"

namespace penstock {
namespace {

void require_cursor(const DocumentStore& store, const DataCursor& cursor, const std::vector<int64_t>& order) {
  const bool document_known = cursor.document >= 0 && cursor.document < std::ssize(order);
  const bool may_cut = store.kind() == DocumentKind::kText;
  if (document_known && cursor.offset >= 0 && cursor.offset < store.token_count(order[cursor.document]) &&
      (may_cut || cursor.offset == 0)) {
    return;
  }
  throw Error(
      ExitCode::kBadInput,
      fmt::format("the data cursor (epoch {}, document {}, token {}) is outside dataset.path with its {} training "
                  "documents: resume with the data and dataset.val_size that the run began with",
                  cursor.epoch, cursor.document, cursor.offset, order.size()));
}

}  // namespace

TrainingStream::TrainingStream(DocumentSelection training, const DatasetOptions& options, const DataCursor& start)
    : training_(training),
      shape_{.micro_batches = options.micro_batches, .rows = options.rows, .row_tokens = options.max_seq_len},
      rules_{.row_tokens = options.max_seq_len, .packing = options.packing},
      seed_(options.seed),
      epoch_(start.epoch),
      place_{.document = start.document, .offset = start.offset} {
  CHECK(!training_.documents->empty());
  if (start.epoch >= 0) order_ = epoch_order(start.epoch);
  require_cursor(*training_.store, start, order_);
}

std::vector<int64_t> TrainingStream::epoch_order(int64_t epoch) const {
  std::vector<int64_t> order = epoch_permutation(std::ssize(*training_.documents), seed_, epoch);
  for (int64_t& document : order) document = (*training_.documents)[static_cast<size_t>(document)];
  return order;
}

std::vector<Piece> TrainingStream::next_row() {
  std::vector<Piece> pieces = plan_row(*training_.store, order_, rules_, place_);
  if (place_.document == std::ssize(order_)) {
    ++epoch_;
    place_ = {};
    order_ = epoch_order(epoch_);
  }
  return pieces;
}

StepBatch TrainingStream::next() {
  StepBatch step = fill_step(*training_.store, shape_, [this] { return next_row(); });
  step.cursor = {.epoch = epoch_, .document = place_.document, .offset = place_.offset};
  return step;
}

int64_t TrainingStream::rows_in_epoch(int64_t epoch) const {
  return count_rows(*training_.store, epoch_order(epoch), rules_);
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
