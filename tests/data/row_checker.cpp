#include "row_checker.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "data/byte_tokenizer.h"

namespace penstock {
namespace {

// Splits a micro-batch into rows of segments; checks borders, positions, padding and the counts.
std::vector<std::vector<RowSegment>> take_apart(const MicroBatch& batch, int32_t padding_token, int64_t first_special) {
  const int64_t total = batch.rows * batch.length;
  EXPECT_EQ(std::ssize(batch.tokens), total);
  EXPECT_EQ(std::ssize(batch.positions), total);
  EXPECT_EQ(std::ssize(batch.targets), total);
  EXPECT_EQ(batch.segment_starts.front(), 0);
  EXPECT_EQ(batch.segment_starts.back(), total);
  std::vector<std::vector<RowSegment>> rows(static_cast<size_t>(batch.rows));
  int64_t trained = 0, real = 0, bytes = 0;
  for (size_t s = 0; s + 1 < batch.segment_starts.size(); ++s) {
    const int64_t begin = batch.segment_starts[s], end = batch.segment_starts[s + 1];
    EXPECT_LT(begin, end);
    EXPECT_EQ(begin / batch.length, (end - 1) / batch.length) << "a segment crosses a row";
    RowSegment segment;
    segment.padding = batch.tokens[begin] == padding_token;
    for (int64_t i = begin; i < end; ++i) {
      EXPECT_EQ(batch.positions[i], i - begin);
      EXPECT_EQ(batch.tokens[i] == padding_token, segment.padding);
      if (segment.padding) {
        EXPECT_EQ(batch.targets[i], kIgnoredTarget);
      }
      segment.tokens.push_back(batch.tokens[i]);
      segment.targets.push_back(batch.targets[i]);
      if (!segment.padding) ++real;
      if (batch.targets[i] != kIgnoredTarget) ++trained;
      if (batch.targets[i] >= 0 && batch.targets[i] < first_special) ++bytes;
    }
    if (segment.padding) {
      EXPECT_EQ(end % batch.length, 0) << "padding ends its row";
    }
    rows[static_cast<size_t>(begin / batch.length)].push_back(segment);
  }
  EXPECT_EQ(batch.trained_tokens, trained);
  EXPECT_EQ(batch.real_tokens, real);
  EXPECT_EQ(batch.target_bytes, bytes);
  return rows;
}

}  // namespace

RowChecker::RowChecker(const RandomDocuments& documents, const std::vector<int64_t>& selected, bool packing)
    : documents_(documents), packing_(packing), text_(documents.store->kind() == DocumentKind::kText) {
  for (const int64_t index : selected) expected_[documents.plain[static_cast<size_t>(index)].tokens] = index;
}

void RowChecker::check(const MicroBatch& batch) {
  const int64_t first_special = text_ ? kByteBos : 0;
  for (const auto& row : take_apart(batch, documents_.store->padding_token(), first_special)) {
    check_row(row, batch.length);
  }
}

void RowChecker::check_row(const std::vector<RowSegment>& row, int64_t length) {
  int64_t used = 0;
  bool closed = false;  // an epoch ended in this row
  for (const RowSegment& segment : row) {
    if (segment.padding) continue;
    EXPECT_FALSE(closed) << "a row mixes epochs";
    if (used == 0 && !packing_) {
      EXPECT_LE(row.size(), 2u) << "one document and padding";
    }
    if (used == 0 && spare_ > 0 && !order_.empty()) check_spare(segment);
    used += std::ssize(segment.tokens);
    closed = book(segment);
  }
  if (used == 0) return;  // a row of padding
  EXPECT_TRUE(used == length || closed || tokens_.empty()) << "padding inside a document";
  spare_ = length - used;
  ++rows_;
  if (closed) end_epoch();
}

void RowChecker::check_spare(const RowSegment& next) const {
  if (!packing_) return;
  EXPECT_FALSE(text_) << "text leaves no space";
  EXPECT_GT(std::ssize(next.tokens), spare_);
}

bool RowChecker::book(const RowSegment& segment) {
  tokens_.insert(tokens_.end(), segment.tokens.begin(), segment.tokens.end());
  targets_.insert(targets_.end(), segment.targets.begin(), segment.targets.end());
  if (text_ && tokens_.back() != kByteEos) return false;  // goes on in the next row
  const auto found = expected_.find(tokens_);
  if (found == expected_.end()) {
    ADD_FAILURE() << "no document has these tokens: " << ::testing::PrintToString(tokens_);
    return false;
  }
  const int64_t index = found->second;
  EXPECT_EQ(targets_, documents_.plain[static_cast<size_t>(index)].targets);
  EXPECT_EQ(std::count(order_.begin(), order_.end(), index), 0) << "document " << index << " twice in an epoch";
  order_.push_back(index);
  tokens_.clear();
  targets_.clear();
  return order_.size() == expected_.size();
}

void RowChecker::end_epoch() {
  ++epochs_;
  rows_of_epochs_.push_back(rows_);
  orders_.push_back(order_);
  order_.clear();
  rows_ = 0;
  spare_ = 0;
}

}  // namespace penstock
