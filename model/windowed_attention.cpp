#include "model/windowed_attention.h"

#include <algorithm>
#include <limits>

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "core/dtype.h"
#include "model/private_ops.h"

namespace penstock {

namespace {

// A chunk computes (window + kChunkQueries - 1) scores a query where `window` are wanted: larger chunks waste more,
// smaller ones leave the threads less to share and read keys more often.
constexpr int64_t kChunkQueries = 256;

// Queries [first, first + queries) and the keys [first_key, first_key + keys) they see.
struct QueryChunk {
  int64_t first, queries, first_key, keys;
};

template <typename Visit>
void for_each_chunk(int64_t window, int64_t length, const Visit& visit) {
  for (int64_t first = 0; first < length; first += kChunkQueries) {
    const int64_t queries = std::min(kChunkQueries, length - first);
    const int64_t first_key = std::max<int64_t>(0, first - window + 1);
    visit(QueryChunk{first, queries, first_key, first + queries - first_key});
  }
}

int64_t mask_queries(int64_t length) { return std::min(kChunkQueries, length); }
int64_t mask_keys(int64_t window, int64_t length) { return mask_queries(length) + window - 1; }

// Query i of a chunk sees keys i ... i + window - 1, counted from the first query's earliest. All chunks share the
// band: those at the segment's start see its right part, as earlier keys do not exist.
class BandMask {
 public:
  BandMask(int64_t window, int64_t length)
      : window_(window), band_(at::empty({mask_queries(length), mask_keys(window, length)}, at::kFloat)) {
    auto* row = band_.mutable_data_ptr<float>();
    for (int64_t i = 0; i < band_.size(0); ++i, row += band_.size(1)) {
      std::fill(row, row + band_.size(1), -std::numeric_limits<float>::infinity());
      std::fill(row + i, row + i + window, 0.0f);
    }
  }
  at::Tensor of(const QueryChunk& chunk) const {
    const int64_t missing = chunk.first_key - (chunk.first - window_ + 1);
    return band_.narrow(0, 0, chunk.queries).narrow(1, missing, chunk.keys);
  }

 private:
  int64_t window_;
  at::Tensor band_;
};

HeadViews chunk_of(const HeadViews& heads, const QueryChunk& chunk) {
  return {heads.query.narrow(2, chunk.first, chunk.queries), heads.key.narrow(2, chunk.first_key, chunk.keys),
          heads.value.narrow(2, chunk.first_key, chunk.keys)};
}

}  // namespace

void windowed_attention(int64_t window, const HeadViews& heads, const at::Tensor& attended,
                        const at::Tensor& logsumexp) {
  const int64_t length = heads.query.size(2);
  const BandMask mask(window, length);
  for_each_chunk(window, length, [&](const QueryChunk& chunk) {
    const HeadViews seen = chunk_of(heads, chunk);
    const FlashForward result = flash_attention(seen.query, seen.key, seen.value, /*causal=*/false, mask.of(chunk));
    attended.narrow(2, chunk.first, chunk.queries).copy_(result.out);
    logsumexp.narrow(2, chunk.first, chunk.queries).copy_(result.logsumexp);
  });
}

void windowed_attention_backward(int64_t window, const HeadViews& heads, const at::Tensor& attended,
                                 const at::Tensor& logsumexp, const at::Tensor& d_attended, const HeadViews& d_heads) {
  const int64_t length = heads.query.size(2);
  const BandMask mask(window, length);
  const at::Tensor d_key = at::zeros(heads.key.sizes(), at::kFloat), d_value = at::zeros(heads.key.sizes(), at::kFloat);
  for_each_chunk(window, length, [&](const QueryChunk& chunk) {
    const HeadViews seen = chunk_of(heads, chunk);
    const auto of_queries = [&](const at::Tensor& whole) { return whole.narrow(2, chunk.first, chunk.queries); };
    const FlashBackward result =
        flash_attention_backward(of_queries(d_attended), seen.query, seen.key, seen.value, of_queries(attended),
                                 of_queries(logsumexp), /*causal=*/false, mask.of(chunk));
    of_queries(d_heads.query).copy_(result.d_query);
    d_key.narrow(2, chunk.first_key, chunk.keys).add_(result.d_key);
    d_value.narrow(2, chunk.first_key, chunk.keys).add_(result.d_value);
  });
  d_heads.key.copy_(d_key);
  d_heads.value.copy_(d_value);
}

uint64_t windowed_attention_extra_bytes(const AttentionShape& shape, int64_t rows, int64_t length) {
  // The two fp32 sums, and one chunk's gradient widened while it is added to its sum.
  const uint64_t sums = (shape.dtype == DType::kFloat32 ? 2 : 3) * static_cast<uint64_t>(rows * length) *
                        static_cast<uint64_t>(shape.kv_width()) * sizeof(float);
  const uint64_t mask = static_cast<uint64_t>(mask_queries(length) * mask_keys(shape.window, length)) * sizeof(float);
  return sums + mask;
}

}  // namespace penstock
