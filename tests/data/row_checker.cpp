#include "row_checker.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "data/byte_tokenizer.h"
#include "data/shuffle.h"

namespace penstock {
namespace {

constexpr int64_t kPadding = -1;

struct Cell {
  int32_t token;
  int32_t target;
  int64_t document;  // or kPadding
};

int32_t padding_token(DocumentKind kind) { return kind == DocumentKind::kText ? kBytePad : 0; }

PackedRow row_of(const std::vector<Cell>& cells) {
  PackedRow row;
  for (size_t i = 0; i < cells.size(); ++i) {
    if (i == 0 || cells[i].document != cells[i - 1].document) row.segment_lengths.push_back(0);
    row.tokens.push_back(cells[i].token);
    row.targets.push_back(cells[i].target);
    row.positions.push_back(static_cast<int32_t>(row.segment_lengths.back()++));
  }
  return row;
}

}  // namespace

std::vector<PackedRow> brute_rows(const RandomDocuments& documents, const std::vector<int64_t>& order,
                                  const DatasetOptions& options) {
  const DocumentKind kind = documents.store->kind();
  const size_t length = static_cast<size_t>(options.max_seq_len);
  std::vector<std::vector<Cell>> runs;  // a run begins a row and is cut where rows end
  for (const int64_t index : order) {
    const PlainDocument& plain = documents.plain[static_cast<size_t>(index)];
    const bool joins = options.packing && !runs.empty() &&
                       (kind == DocumentKind::kText || runs.back().size() + plain.tokens.size() <= length);
    if (!joins) runs.emplace_back();
    for (size_t i = 0; i < plain.tokens.size(); ++i) {
      runs.back().push_back({.token = plain.tokens[i], .target = plain.targets[i], .document = index});
    }
  }
  const Cell padding{.token = padding_token(kind), .target = kIgnoredTarget, .document = kPadding};
  std::vector<PackedRow> rows;
  for (std::vector<Cell>& run : runs) {
    while (run.size() % length != 0) run.push_back(padding);
    for (auto begin = run.begin(); begin != run.end(); begin += options.max_seq_len) {
      rows.push_back(row_of({begin, begin + options.max_seq_len}));
    }
  }
  return rows;
}

PackedRow padding_row(DocumentKind kind, const DatasetOptions& options) {
  const Cell padding{.token = padding_token(kind), .target = kIgnoredTarget, .document = kPadding};
  return row_of(std::vector<Cell>(static_cast<size_t>(options.max_seq_len), padding));
}

std::vector<PackedRow> take_apart(const MicroBatch& batch, DocumentKind kind, const DatasetOptions& options) {
  EXPECT_EQ(batch.rows, options.rows);
  EXPECT_EQ(batch.length, options.max_seq_len);
  const int64_t total = options.rows * options.max_seq_len;
  EXPECT_EQ(std::ssize(batch.tokens), total);
  EXPECT_EQ(std::ssize(batch.positions), total);
  EXPECT_EQ(std::ssize(batch.targets), total);
  EXPECT_EQ(batch.segment_starts.front(), 0);
  EXPECT_EQ(batch.segment_starts.back(), total);
  if (::testing::Test::HasFailure()) return {};
  std::vector<PackedRow> rows;
  for (int64_t begin = 0; begin < total; begin += batch.length) {
    const auto row_of_batch = [&](const std::vector<int32_t>& all) {
      return std::vector<int32_t>(all.begin() + begin, all.begin() + begin + batch.length);
    };
    rows.push_back({row_of_batch(batch.tokens), row_of_batch(batch.targets), row_of_batch(batch.positions), {}});
  }
  for (size_t s = 0; s + 1 < batch.segment_starts.size(); ++s) {
    const int64_t begin = batch.segment_starts[s], end = batch.segment_starts[s + 1];
    EXPECT_LT(begin, end);
    EXPECT_EQ(begin / batch.length, (end - 1) / batch.length) << "a segment crosses a row";
    rows[static_cast<size_t>(begin / batch.length)].segment_lengths.push_back(end - begin);
  }
  const bool text = kind == DocumentKind::kText;
  const auto trained = [](int32_t target) { return target != kIgnoredTarget; };
  const auto byte = [&](int32_t target) { return text && target >= 0 && target < 256; };
  const auto real = [&](int32_t token) { return token != padding_token(kind); };
  EXPECT_EQ(batch.trained_tokens, std::count_if(batch.targets.begin(), batch.targets.end(), trained));
  EXPECT_EQ(batch.target_bytes, std::count_if(batch.targets.begin(), batch.targets.end(), byte));
  EXPECT_EQ(batch.real_tokens, std::count_if(batch.tokens.begin(), batch.tokens.end(), real));
  return rows;
}

RowChecker::RowChecker(const RandomDocuments& documents, const std::vector<int64_t>& selected,
                       const DatasetOptions& options)
    : documents_(documents), selected_(selected), options_(options) {
  begin_epoch();
}

void RowChecker::begin_epoch() {
  std::vector<int64_t> order = document_permutation(std::ssize(selected_), options_.seed, std::ssize(orders_));
  for (int64_t& document : order) document = selected_[static_cast<size_t>(document)];
  const std::vector<PackedRow> rows = brute_rows(documents_, order, options_);
  for (size_t i = 0; i < rows.size(); ++i) left_.emplace(rows[i], static_cast<int64_t>(i));
}

void RowChecker::check(const MicroBatch& batch) {
  for (const PackedRow& row : take_apart(batch, documents_.store->kind(), options_)) tick_off(row);
}

void RowChecker::tick_off(const PackedRow& row) {
  const auto found = left_.lower_bound(row);
  if (found == left_.end() || found->first != row) {
    ADD_FAILURE() << "epoch " << cursor().epoch << ", row " << cursor().row << " is none of the " << left_.size()
                  << " rows left: " << ::testing::PrintToString(row.tokens);
    return;
  }
  order_.push_back(found->second);
  left_.erase(found);
  if (!left_.empty()) return;
  orders_.push_back(std::move(order_));
  order_.clear();
  begin_epoch();
}

}  // namespace penstock
