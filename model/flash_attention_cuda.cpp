#include "model/flash_attention_cuda.h"

#include <algorithm>

#include <ATen/core/Tensor.h>

#include "core/bytes.h"
#include "core/check.h"
#include "model/private_ops.h"
#include "model/tensor_view.h"

namespace penstock {

namespace {

// Backward's fp32 sum of d_query has 128 spare rows for every segment of a call (dq_accum of mha_varlen_bwd:
// total_q + 128 * batch_size rows). Many short documents would make that far larger than all else, so that backward
// takes them in groups, which at most double the sum's rows; a group smaller than kFewSegments is not worth its launch.
constexpr int64_t kSpareRows = 128, kFewSegments = 16;

int64_t segments_per_call(int64_t tokens) { return std::max(kFewSegments, (tokens + kSpareRows - 1) / kSpareRows); }

// Rows [0, tokens) of a [tokens, width] buffer from column `column` on, as [tokens, heads, head_dim].
at::Tensor heads_view(const AttentionShape& shape, const void* base, int64_t tokens, int64_t width, int64_t column,
                      int64_t heads, c10::Device device) {
  return tensor_view(element_at(shape.dtype, base, column), {tokens, heads, shape.head_dim}, {width, shape.head_dim, 1},
                     tensor_type(shape.dtype), device);
}

struct PackedHeads {
  at::Tensor query, key, value;
};
PackedHeads packed_heads(const AttentionShape& shape, const void* qkv, int64_t tokens, c10::Device device) {
  const int64_t width = shape.packed_width(), first_key = shape.query_width();
  return {heads_view(shape, qkv, tokens, width, 0, shape.query_heads, device),
          heads_view(shape, qkv, tokens, width, first_key, shape.kv_heads, device),
          heads_view(shape, qkv, tokens, width, first_key + shape.kv_width(), shape.kv_heads, device)};
}

// Segments [first, first + count) of the batch.
FlashSegments segments_of(const AttentionShape& shape, const BatchView& batch, const PackedHeads& heads, int64_t first,
                          int64_t count, c10::Device device) {
  int64_t longest = 0;
  for (int64_t i = first; i < first + count; ++i) {
    const auto index = static_cast<size_t>(i);
    longest = std::max<int64_t>(longest, batch.segment_starts[index + 1] - batch.segment_starts[index]);
  }
  const at::Tensor starts = tensor_view(batch.device.segment_starts + first, {count + 1}, at::kInt, device);
  return {heads.query, heads.key, heads.value, starts, longest, shape.window};
}

int64_t segment_count(const BatchView& batch) {
  CHECK_GE(batch.segment_starts.size(), 2u);
  CHECK_EQ(batch.segment_starts.front(), 0);
  CHECK_EQ(batch.segment_starts.back(), batch.rows * batch.length);
  CHECK(batch.device.segment_starts != nullptr);
  return static_cast<int64_t>(batch.segment_starts.size()) - 1;
}

at::Tensor logsumexp_view(const AttentionShape& shape, const float* logsumexp, int64_t tokens, c10::Device device) {
  return tensor_view(logsumexp, {shape.query_heads, tokens}, at::kFloat, device);
}

}  // namespace

bool cuda_flash_takes(const AttentionShape& shape) {
  return shape.dtype == DType::kBFloat16 && shape.head_dim % 8 == 0 && shape.head_dim <= 256;
}

void cuda_flash_attention(const AttentionShape& shape, const BatchView& batch, const void* qkv, void* attended,
                          float* logsumexp, c10::Device device) {
  const int64_t tokens = batch.rows * batch.length;
  CHECK_LE(segment_count(batch), 65535);  // blocks of the forward's grid in that direction
  const PackedHeads heads = packed_heads(shape, qkv, tokens, device);
  const FlashForward result = flash_segments(segments_of(shape, batch, heads, 0, segment_count(batch), device));
  heads_view(shape, attended, tokens, shape.query_width(), 0, shape.query_heads, device).copy_(result.out);
  logsumexp_view(shape, logsumexp, tokens, device).copy_(result.logsumexp);
}

void cuda_flash_attention_backward(const AttentionShape& shape, const BatchView& batch, const void* qkv,
                                   const void* attended, const float* logsumexp, const void* d_attended, void* d_qkv,
                                   c10::Device device) {
  const int64_t tokens = batch.rows * batch.length, segments = segment_count(batch), query_width = shape.query_width();
  const PackedHeads heads = packed_heads(shape, qkv, tokens, device),
                    d_heads = packed_heads(shape, d_qkv, tokens, device);
  const at::Tensor out = heads_view(shape, attended, tokens, query_width, 0, shape.query_heads, device);
  const at::Tensor d_out = heads_view(shape, d_attended, tokens, query_width, 0, shape.query_heads, device);
  const at::Tensor sums = logsumexp_view(shape, logsumexp, tokens, device);
  const int64_t most = segments_per_call(tokens);
  for (int64_t first = 0; first < segments; first += most) {
    const int64_t count = std::min(most, segments - first);
    const FlashBackward result =
        flash_segments_backward(segments_of(shape, batch, heads, first, count, device), d_out, out, sums);
    const int64_t start = batch.segment_starts[static_cast<size_t>(first)];
    const int64_t rows = batch.segment_starts[static_cast<size_t>(first + count)] - start;
    d_heads.query.narrow(0, start, rows).copy_(result.d_query.narrow(0, start, rows));
    d_heads.key.narrow(0, start, rows).copy_(result.d_key.narrow(0, start, rows));
    d_heads.value.narrow(0, start, rows).copy_(result.d_value.narrow(0, start, rows));
  }
}

void cuda_flash_cached_attention(const AttentionShape& shape, const void* qkv, void* attended,
                                 const AttentionCache& cache, c10::Device device) {
  const int64_t width = shape.packed_width(), query_width = shape.query_width(), kv_width = shape.kv_width();
  for (int64_t row = 0; row < cache.rows; ++row) {
    const int64_t tokens = cache.lengths[static_cast<size_t>(row)] + 1;
    CHECK_LE(tokens, cache.capacity);
    const int64_t seen = shape.window > 0 ? std::min(tokens, shape.window) : tokens;
    const int64_t first_key = (row * cache.capacity + tokens - seen) * kv_width;
    const auto one_row = [&](const void* base, int64_t first, int64_t row_width) {
      const void* data = element_at(shape.dtype, base, first);
      return heads_view(shape, data, 1, row_width, 0, shape.query_heads, device).unsqueeze(0);
    };
    const auto cached = [&](const void* base) {
      const void* data = element_at(shape.dtype, base, first_key);
      return heads_view(shape, data, seen, kv_width, 0, shape.kv_heads, device).unsqueeze(0);
    };
    one_row(attended, row * query_width, query_width)
        .copy_(flash_one_query(one_row(qkv, row * width, width), cached(cache.keys), cached(cache.values)));
  }
}

uint64_t cuda_flash_temporary_bytes(const AttentionShape& shape, int64_t rows, int64_t length, bool deterministic) {
  const auto tokens = static_cast<uint64_t>(rows * length), heads = static_cast<uint64_t>(shape.query_heads);
  const auto head_dim = static_cast<uint64_t>(shape.head_dim);
  const uint64_t query_bytes = tokens * static_cast<uint64_t>(shape.query_width()) * dtype_bytes(shape.dtype);
  const uint64_t kv_bytes = tokens * static_cast<uint64_t>(shape.kv_width()) * dtype_bytes(shape.dtype);
  // Heads are computed in steps of 32, above 128 of 64 (head_size_rounded).
  const uint64_t padded_dim = align_up(head_dim, head_dim <= 128 ? 32 : 64);
  const uint64_t out_and_logsumexp = query_bytes + tokens * heads * sizeof(float);

  // The sum of d_query: one for each split, of which deterministic mode makes as many as give every multiprocessor a
  // head of a segment (nsplits of mha_varlen_bwd). A row of the batch holds at least one segment.
  constexpr uint64_t kMostMultiprocessors = 192;  // of the largest chips made
  const auto most_segments = static_cast<uint64_t>(segments_per_call(rows * length));
  const auto sum_bytes = [&](uint64_t segments, uint64_t splits) {
    return splits * (tokens + kSpareRows * segments) * heads * padded_dim * sizeof(float);
  };
  uint64_t query_sum = sum_bytes(most_segments, 1);
  if (deterministic) {
    for (uint64_t segments = 1; segments <= most_segments; ++segments) {
      const uint64_t splits = (kMostMultiprocessors + segments * heads - 1) / (segments * heads);
      query_sum = std::max(query_sum, sum_bytes(segments, splits));
    }
  }
  const uint64_t row_dots = heads * (tokens + kSpareRows * most_segments) * sizeof(float);  // softmax_d
  const uint64_t gradients = query_bytes + 2 * kv_bytes;                                    // dq, dk, dv
  // With grouped heads, dk and dv of every query head before they are summed (dk_expanded, dv_expanded).
  const uint64_t expanded = shape.query_heads != shape.kv_heads ? 2 * query_bytes : 0;
  // One query's keys split over at most 128 blocks: a partial result of each (set_params_splitkv), and regrouped heads.
  const uint64_t one_query = 128 * heads * (padded_dim + 1) * sizeof(float) + 4 * heads * head_dim * sizeof(float);
  return std::max({out_and_logsumexp, gradients + expanded + query_sum + row_dots, one_query});
}

}  // namespace penstock
