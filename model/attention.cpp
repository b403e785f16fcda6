#include "model/attention.h"

#include <algorithm>
#include <cstring>

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>

#include "core/bytes.h"
#include "core/check.h"
#include "model/private_ops.h"
#include "model/tensor_type.h"
#include "model/windowed_attention.h"

namespace penstock {

namespace {

// Segments of one length, one after the other in memory: one call of the kernel.
struct SegmentRun {
  int64_t first_token, count, length;
  int64_t tokens() const { return count * length; }
};

template <typename Visit>
void for_each_run(const BatchView& batch, const Visit& visit) {
  const std::span<const int32_t> starts = batch.segment_starts;
  CHECK_GE(starts.size(), 2u);
  CHECK_EQ(starts.back(), batch.rows * batch.length);
  for (size_t i = 0; i + 1 < starts.size();) {
    const int64_t length = starts[i + 1] - starts[i];
    size_t end = i + 1;
    while (end + 1 < starts.size() && starts[end + 1] - starts[end] == length) ++end;
    visit(SegmentRun{starts[i], static_cast<int64_t>(end - i), length});
    i = end;
  }
}

std::byte* element(const AttentionShape& shape, void* base, int64_t index) {
  return static_cast<std::byte*>(base) + index * static_cast<int64_t>(dtype_bytes(shape.dtype));
}

// The run's rows of a [tokens, width] buffer from column `column` on, as [count, heads, length, head_dim].
at::Tensor heads_view(const AttentionShape& shape, const SegmentRun& run, void* base, int64_t width, int64_t column,
                      int64_t heads) {
  return at::from_blob(element(shape, base, run.first_token * width + column),
                       {run.count, heads, run.length, shape.head_dim}, {run.length * width, shape.head_dim, width, 1},
                       tensor_type(shape.dtype));
}

HeadViews packed_heads(const AttentionShape& shape, const SegmentRun& run, void* qkv) {
  const int64_t width = shape.packed_width(), query_width = shape.query_width();
  return {heads_view(shape, run, qkv, width, 0, shape.query_heads),
          heads_view(shape, run, qkv, width, query_width, shape.kv_heads),
          heads_view(shape, run, qkv, width, query_width + shape.kv_width(), shape.kv_heads)};
}

bool exceeds_window(const AttentionShape& shape, int64_t length) { return shape.window > 0 && length > shape.window; }

at::Tensor logsumexp_view(const AttentionShape& shape, const SegmentRun& run, float* logsumexp) {
  return at::from_blob(logsumexp + run.first_token * shape.query_heads, {run.count, shape.query_heads, run.length},
                       {run.length * shape.query_heads, 1, shape.query_heads}, at::kFloat);
}

}  // namespace

void attention(const AttentionShape& shape, const BatchView& batch, void* qkv, void* attended, float* logsumexp) {
  for_each_run(batch, [&](const SegmentRun& run) {
    const HeadViews heads = packed_heads(shape, run, qkv);
    const at::Tensor out = heads_view(shape, run, attended, shape.query_width(), 0, shape.query_heads);
    const at::Tensor out_logsumexp = logsumexp_view(shape, run, logsumexp);
    if (exceeds_window(shape, run.length)) {
      windowed_attention(shape.window, heads, out, out_logsumexp);
      return;
    }
    const FlashForward result = flash_attention(heads.query, heads.key, heads.value, /*causal=*/true);
    out.copy_(result.out);
    out_logsumexp.copy_(result.logsumexp);
  });
}

void attention_backward(const AttentionShape& shape, const BatchView& batch, void* qkv, void* attended,
                        float* logsumexp, void* d_attended, void* d_qkv) {
  for_each_run(batch, [&](const SegmentRun& run) {
    const HeadViews heads = packed_heads(shape, run, qkv), d_heads = packed_heads(shape, run, d_qkv);
    const at::Tensor out = heads_view(shape, run, attended, shape.query_width(), 0, shape.query_heads);
    const at::Tensor d_out = heads_view(shape, run, d_attended, shape.query_width(), 0, shape.query_heads);
    const at::Tensor out_logsumexp = logsumexp_view(shape, run, logsumexp);
    if (exceeds_window(shape, run.length)) {
      windowed_attention_backward(shape.window, heads, out, out_logsumexp, d_out, d_heads);
      return;
    }
    const FlashBackward result =
        flash_attention_backward(d_out, heads.query, heads.key, heads.value, out, out_logsumexp, /*causal=*/true);
    d_heads.query.copy_(result.d_query);
    d_heads.key.copy_(result.d_key);
    d_heads.value.copy_(result.d_value);
  });
}

void append_to_cache(const AttentionShape& shape, int64_t length, const void* qkv, const AttentionCache& cache) {
  const auto element_bytes = static_cast<int64_t>(dtype_bytes(shape.dtype));
  const int64_t row_bytes = shape.kv_width() * element_bytes;
  for (int64_t row = 0; row < cache.rows; ++row) {
    const int64_t first = cache.lengths[static_cast<size_t>(row)];
    CHECK_LE(first + length, cache.capacity);
    for (int64_t token = 0; token < length; ++token) {
      const std::byte* key = static_cast<const std::byte*>(qkv) +
                             ((row * length + token) * shape.packed_width() + shape.query_width()) * element_bytes;
      const int64_t place = (row * cache.capacity + first + token) * row_bytes;
      std::memcpy(static_cast<std::byte*>(cache.keys) + place, key, static_cast<size_t>(row_bytes));
      std::memcpy(static_cast<std::byte*>(cache.values) + place, key + row_bytes, static_cast<size_t>(row_bytes));
    }
  }
}

void cached_attention(const AttentionShape& shape, void* qkv, void* attended, const AttentionCache& cache) {
  for (int64_t row = 0; row < cache.rows; ++row) {
    const SegmentRun query_run{row, 1, 1};
    const int64_t tokens = cache.lengths[static_cast<size_t>(row)] + 1;
    const int64_t seen = exceeds_window(shape, tokens) ? shape.window : tokens;
    const SegmentRun cache_run{row * cache.capacity + tokens - seen, 1, seen};
    const FlashForward result = flash_attention(
        heads_view(shape, query_run, qkv, shape.packed_width(), 0, shape.query_heads),
        heads_view(shape, cache_run, cache.keys, shape.kv_width(), 0, shape.kv_heads),
        heads_view(shape, cache_run, cache.values, shape.kv_width(), 0, shape.kv_heads), /*causal=*/false);
    heads_view(shape, query_run, attended, shape.query_width(), 0, shape.query_heads).copy_(result.out);
  }
}

uint64_t attention_temporary_bytes(const AttentionShape& shape, int64_t rows, int64_t length, int threads) {
  const auto count = static_cast<uint64_t>(rows * length);
  const uint64_t forward = count * (static_cast<uint64_t>(shape.query_width()) * dtype_bytes(shape.dtype) +
                                    static_cast<uint64_t>(shape.query_heads) * sizeof(float));
  // The gradients of queries, keys and values.
  const uint64_t backward = count * static_cast<uint64_t>(shape.packed_width()) * dtype_bytes(shape.dtype);
  const uint64_t windowed = exceeds_window(shape, length) ? windowed_attention_extra_bytes(shape, rows, length) : 0;
  return std::max(forward, backward) + windowed + flash_attention_scratch_bytes(shape.dtype, shape.head_dim, threads);
}

}  // namespace penstock
