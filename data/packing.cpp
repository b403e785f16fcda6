#include "data/packing.h"

#include <algorithm>
#include <numeric>

#include "core/check.h"

namespace penstock {
namespace {

MicroBatch empty_micro_batch(const DocumentStore& store, const StepShape& shape) {
  const size_t token_count = static_cast<size_t>(shape.rows * shape.row_tokens);
  MicroBatch batch;
  batch.rows = shape.rows;
  batch.length = shape.row_tokens;
  batch.tokens.assign(token_count, store.padding_token());
  batch.positions.assign(token_count, 0);
  batch.targets.assign(token_count, kIgnoredTarget);
  batch.segment_starts.push_back(0);
  return batch;
}

// Closes a segment of `token_count` tokens that starts where the last one ended.
void close_segment(MicroBatch& batch, int64_t token_count) {
  const int32_t begin = batch.segment_starts.back();
  const int32_t end = begin + static_cast<int32_t>(token_count);
  std::iota(batch.positions.begin() + begin, batch.positions.begin() + end, 0);
  batch.segment_starts.push_back(end);
}

void fill_row(const DocumentStore& store, std::span<const Piece> pieces, MicroBatch& batch) {
  int64_t free = batch.length;
  for (const Piece& piece : pieces) {
    CHECK_LE(piece.token_count, free);
    const size_t begin = static_cast<size_t>(batch.segment_starts.back());
    const size_t count = static_cast<size_t>(piece.token_count);
    store.read(piece.document, piece.offset, std::span(batch.tokens).subspan(begin, count),
               std::span(batch.targets).subspan(begin, count));
    close_segment(batch, piece.token_count);
    batch.real_tokens += piece.token_count;
    batch.target_bytes += store.target_bytes(piece.document, piece.offset, piece.token_count);
    free -= piece.token_count;
  }
  if (free > 0) close_segment(batch, free);
}

}  // namespace

std::vector<Piece> plan_row(const DocumentStore& store, std::span<const int64_t> order, const RowRules& rules,
                            PackingPlace& place) {
  CHECK_LT(place.document, std::ssize(order));
  const bool may_cut = store.kind() == DocumentKind::kText;
  std::vector<Piece> pieces;
  int64_t free = rules.row_tokens;
  while (place.document < std::ssize(order) && free > 0) {
    const int64_t document = order[place.document];
    const int64_t left = store.token_count(document) - place.offset;
    CHECK_GT(left, 0);
    CHECK(may_cut || left <= rules.row_tokens);
    if (left > free && !may_cut) break;
    const int64_t count = std::min(left, free);
    pieces.push_back({.document = document, .offset = place.offset, .token_count = count});
    place = count == left ? PackingPlace{place.document + 1, 0} : PackingPlace{place.document, place.offset + count};
    free -= count;
    if (!rules.packing) break;
  }
  return pieces;
}

std::span<const Piece> RowPlan::row(int64_t index) const {
  CHECK_LT(index, row_count());
  const int64_t begin = row_starts[index];
  return std::span(pieces).subspan(begin, row_starts[index + 1] - begin);
}

RowPlan plan_rows(const DocumentStore& store, std::span<const int64_t> order, const RowRules& rules) {
  PackingPlace place;
  RowPlan plan;
  while (place.document < std::ssize(order)) {
    const std::vector<Piece> row = plan_row(store, order, rules, place);
    plan.pieces.insert(plan.pieces.end(), row.begin(), row.end());
    plan.row_starts.push_back(std::ssize(plan.pieces));
  }
  return plan;
}

int64_t count_rows(const DocumentStore& store, std::span<const int64_t> order, const RowRules& rules) {
  PackingPlace place;
  int64_t rows = 0;
  for (; place.document < std::ssize(order); ++rows) plan_row(store, order, rules, place);
  return rows;
}

StepBatch fill_step(const DocumentStore& store, const StepShape& shape,
                    const std::function<std::vector<Piece>()>& next_row) {
  StepBatch step;
  for (int64_t m = 0; m < shape.micro_batches; ++m) {
    MicroBatch batch = empty_micro_batch(store, shape);
    for (int64_t row = 0; row < shape.rows; ++row) fill_row(store, next_row(), batch);
    batch.trained_tokens =
        std::ssize(batch.targets) - std::count(batch.targets.begin(), batch.targets.end(), kIgnoredTarget);
    step.trained_tokens += batch.trained_tokens;
    step.real_tokens += batch.real_tokens;
    step.target_bytes += batch.target_bytes;
    step.micro_batches.push_back(std::move(batch));
  }
  return step;
}

}  // namespace penstock
