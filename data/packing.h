// Lays documents into rows of T tokens. Planning (which part of which document goes where) reads lengths only, so that
// counting the rows of an epoch costs no copy; filling copies tokens.
//
// Packed: text runs on from row to row; a document that reaches the end of its row goes on in the next one as a new
// segment, where positions restart at 0. The last position of the row keeps its target: the document's next token.
// "Next" is the next row planned: which row is trained when is the stream's to decide.
// Pre-tokenised rows are never cut: next fit, the rest of the row is padding. Unpacked: one document, or one piece of a
// long text, in each row.
// A row's padding is one segment, untrained, with positions from 0.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "data/document_store.h"
#include "data/step_batch.h"

namespace penstock {

struct StepShape {
  int64_t micro_batches = 1;  // M
  int64_t rows = 1;           // B
  int64_t row_tokens = 1;     // T
};

// Where planning stands in a list of documents.
struct PackingPlace {
  int64_t document = 0;  // index into the order
  int64_t offset = 0;    // tokens of it already placed, less than it has
};

// A part of one document in one row.
struct Piece {
  int64_t document;  // index into the store
  int64_t offset;
  int64_t token_count;
};

struct RowRules {
  int64_t row_tokens;
  bool packing;
};

// The pieces of the next row, left to right, and moves `place` past them. CHECKs that documents are left and that a
// pre-tokenised row fits.
std::vector<Piece> plan_row(const DocumentStore& store, std::span<const int64_t> order, const RowRules& rules,
                            PackingPlace& place);

// Consecutive rows, planned: 24 B a piece and 8 B a row.
struct RowPlan {
  std::vector<Piece> pieces = {};
  std::vector<int64_t> row_starts = {0};  // in `pieces`; ends with their count

  int64_t row_count() const { return std::ssize(row_starts) - 1; }
  std::span<const Piece> row(int64_t index) const;
};

// All rows of all documents of the order.
RowPlan plan_rows(const DocumentStore& store, std::span<const int64_t> order, const RowRules& rules);

// Their number, without holding them.
int64_t count_rows(const DocumentStore& store, std::span<const int64_t> order, const RowRules& rules);

// M micro-batches of B rows with the pieces that `next_row` returns, called M x B times; no pieces: a row of padding.
// The cursor is left for the caller.
StepBatch fill_step(const DocumentStore& store, const StepShape& shape,
                    const std::function<std::vector<Piece>()>& next_row);

}  // namespace penstock
