// The oracle of packing: lays the plain documents into rows by brute force, token by token, and ticks off the rows that
// a stream hands out. It shares no code with the packer and does not know in which order an epoch's rows come.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "data/dataset_options.h"
#include "data/step_batch.h"
#include "random_documents.h"

namespace penstock {

struct PackedRow {
  std::vector<int32_t> tokens;
  std::vector<int32_t> targets;
  std::vector<int32_t> positions;
  std::vector<int64_t> segment_lengths;

  auto operator<=>(const PackedRow&) const = default;
};

// The rows of the documents in this order, one after another.
std::vector<PackedRow> brute_rows(const RandomDocuments& documents, const std::vector<int64_t>& order,
                                  const DatasetOptions& options);

// What fills up an evaluation's last step.
PackedRow padding_row(DocumentKind kind, const DatasetOptions& options);

// The rows of a micro-batch; checks its shape and its counts.
std::vector<PackedRow> take_apart(const MicroBatch& batch, DocumentKind kind, const DatasetOptions& options);

// Every epoch must hand out each of its brute-force rows once before the next epoch begins.
class RowChecker {
 public:
  // All of them outlive the checker; `selected` is ascending.
  RowChecker(const RandomDocuments& documents, const std::vector<int64_t>& selected, const DatasetOptions& options);

  void check(const MicroBatch& batch);

  // Where a stream stands that has handed out these rows.
  DataCursor cursor() const { return {.epoch = std::ssize(orders_), .row = std::ssize(order_)}; }
  // The finished epochs: for each row in the order of visit, its place among the rows as laid. Of equal rows the first.
  const std::vector<std::vector<int64_t>>& orders() const { return orders_; }

 private:
  void begin_epoch();
  void tick_off(const PackedRow& row);

  const RandomDocuments& documents_;
  const std::vector<int64_t>& selected_;
  const DatasetOptions& options_;
  std::multimap<PackedRow, int64_t> left_;  // of this epoch
  std::vector<int64_t> order_;
  std::vector<std::vector<int64_t>> orders_;
};

}  // namespace penstock
