// The oracle of packing: takes micro-batches apart token by token and books every token to a document, knowing only
// what the documents are. It shares no code with the packer and knows nothing of its order.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "data/step_batch.h"
#include "random_documents.h"

namespace penstock {

// A segment of one row.
struct RowSegment {
  std::vector<int32_t> tokens;
  std::vector<int32_t> targets;
  bool padding = false;
};

// Books rows to documents. An epoch is over when every selected document was seen once; a second sighting before that
// is a failure.
class RowChecker {
 public:
  RowChecker(const RandomDocuments& documents, const std::vector<int64_t>& selected, bool packing);

  // Also checks borders, positions, padding and the counts.
  void check(const MicroBatch& batch);

  int64_t epochs() const { return epochs_; }
  const std::vector<int64_t>& rows_of_epochs() const { return rows_of_epochs_; }
  // The documents of the finished epochs in the order they came.
  const std::vector<std::vector<int64_t>>& orders() const { return orders_; }
  bool between_epochs() const { return order_.empty() && tokens_.empty(); }

 private:
  void check_row(const std::vector<RowSegment>& row, int64_t length);
  // The row before had `spare_` tokens left although documents were: only where the next one did not fit.
  void check_spare(const RowSegment& next) const;
  // True when the epoch's last document is through.
  bool book(const RowSegment& segment);
  void end_epoch();

  const RandomDocuments& documents_;
  bool packing_;
  bool text_;
  std::map<std::vector<int32_t>, int64_t> expected_;
  std::vector<int32_t> tokens_;  // of the document under way
  std::vector<int32_t> targets_;
  std::vector<int64_t> order_;
  int64_t rows_ = 0;
  int64_t spare_ = 0;
  int64_t epochs_ = 0;
  std::vector<int64_t> rows_of_epochs_;
  std::vector<std::vector<int64_t>> orders_;
};

}  // namespace penstock
