#include "model/math_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include <ATen/core/Tensor.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/baddbmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>

#include "core/check.h"
#include "model/tensor_view.h"

namespace penstock {

namespace {

// Heads that share a key head are rows of one product: queries are [kv_heads, group * queries, head_dim].
int64_t group_of(const AttentionShape& shape) { return shape.query_heads / shape.kv_heads; }

// Rows [first, first + count) of a [tokens, width] buffer as [kv_heads, group, count, head_dim].
at::Tensor query_rows(const AttentionShape& shape, const void* base, int64_t width, int64_t first, int64_t count,
                      c10::Device device) {
  const int64_t group = group_of(shape), head_dim = shape.head_dim;
  return tensor_view(element_at(shape.dtype, base, first * width), {shape.kv_heads, group, count, head_dim},
                     {group * head_dim, head_dim, width, 1}, tensor_type(shape.dtype), device);
}

// The same of keys or values, which begin at `column`: [kv_heads, count, head_dim].
at::Tensor key_rows(const AttentionShape& shape, const void* base, int64_t width, int64_t column, int64_t first,
                    int64_t count, c10::Device device) {
  return tensor_view(element_at(shape.dtype, base, first * width + column), {shape.kv_heads, count, shape.head_dim},
                     {shape.head_dim, width, 1}, tensor_type(shape.dtype), device);
}

// The fp32 copy that products take: [kv_heads, group * count, head_dim].
at::Tensor gathered(const at::Tensor& rows) {
  at::Tensor copy = at::empty(rows.sizes(), rows.options().dtype(at::kFloat));
  copy.copy_(rows);
  return copy.view({rows.size(0), rows.size(1) * rows.size(2), rows.size(3)});
}

// Products read fp32 where it lies.
at::Tensor widened(const at::Tensor& rows) {
  if (rows.scalar_type() == at::kFloat) return rows;
  at::Tensor copy = at::empty(rows.sizes(), rows.options().dtype(at::kFloat));
  copy.copy_(rows);
  return copy;
}

at::Tensor logsumexp_rows(const AttentionShape& shape, const float* logsumexp, int64_t first, int64_t count,
                          c10::Device device) {
  return tensor_view(logsumexp + first * shape.query_heads, {shape.kv_heads, group_of(shape), count},
                     {group_of(shape), 1, shape.query_heads}, at::kFloat, device);
}

// Queries [first, first + queries) of a segment and the keys [first_key, first_key + keys) they see.
struct Chunk {
  int64_t first, queries, first_key, keys;
};

int64_t keys_of_chunk(const AttentionShape& shape, int64_t length) {
  return shape.window > 0 ? std::min(length, 2 * shape.window - 1) : length;
}

int64_t queries_of_chunk(const AttentionShape& shape, int64_t length) {
  const int64_t fitting = std::max<int64_t>(1, kScoreElements / (shape.query_heads * keys_of_chunk(shape, length)));
  return std::min({fitting, length, shape.window > 0 ? shape.window : length});
}

template <typename Visit>
void for_each_chunk(const AttentionShape& shape, int64_t length, const Visit& visit) {
  const int64_t most = queries_of_chunk(shape, length);
  for (int64_t first = 0; first < length; first += most) {
    const int64_t queries = std::min(most, length - first);
    const int64_t first_key = shape.window > 0 ? std::max<int64_t>(0, first - shape.window + 1) : 0;
    visit(Chunk{first, queries, first_key, first + queries - first_key});
  }
}

template <typename Visit>
void for_each_segment(std::span<const int32_t> starts, const Visit& visit) {
  CHECK_GE(starts.size(), 2u);
  for (size_t i = 0; i + 1 < starts.size(); ++i) {
    CHECK_LE(starts[i], starts[i + 1]);
    if (starts[i] < starts[i + 1]) visit(int64_t{starts[i]}, int64_t{starts[i + 1]} - starts[i]);
  }
}

// [queries, keys], true where a query does not see a key. Made where it is used: nothing crosses the link.
at::Tensor hidden_keys(const AttentionShape& shape, const Chunk& chunk, c10::Device device) {
  const int64_t own_key = chunk.first - chunk.first_key;  // the first query's own key
  at::Tensor hidden = at::ones({chunk.queries, chunk.keys}, at::TensorOptions(at::kBool).device(device));
  if (shape.window == 0) return hidden.triu_(own_key + 1);
  const at::Tensor too_old = at::ones_like(hidden).tril_(own_key - shape.window);
  return hidden.triu_(own_key + 1).logical_or_(too_old);
}

// scale * query key^T with hidden keys at -inf: [kv_heads, group * queries, keys]. `query` comes scaled.
at::Tensor masked_scores(const AttentionShape& shape, const Chunk& chunk, const at::Tensor& scaled_query,
                         const at::Tensor& key, c10::Device device) {
  at::Tensor scores = at::bmm(scaled_query, key.transpose(1, 2));
  scores.view({shape.kv_heads, group_of(shape), chunk.queries, chunk.keys})
      .masked_fill_(hidden_keys(shape, chunk, device), -std::numeric_limits<float>::infinity());
  return scores;
}

// Scores become probabilities in place; returns their log-sum-exp. Every query sees its own key: no row is empty.
at::Tensor softmax_in_place(at::Tensor& scores) {
  const at::Tensor maximum = at::amax(scores, -1, /*keepdim=*/true);
  scores.sub_(maximum).exp_();
  at::Tensor sum = at::sum(scores, -1, /*keepdim=*/true);
  scores.div_(sum);
  return sum.log_().add_(maximum);
}

double scale_of(const AttentionShape& shape) { return 1 / std::sqrt(static_cast<double>(shape.head_dim)); }

// One segment's operands and results in backward.
struct SegmentBackward {
  const AttentionShape& shape;
  int64_t start;
  const void* qkv;
  const void* attended;
  const float* logsumexp;
  const void* d_attended;
  void* d_qkv;
  c10::Device device;
};

// P = exp(S - logsumexp), dS = P * (dO V^T - rowsum(dO * O)); dQ = dS K, dK += dS^T Q, dV += P^T dO.
void chunk_backward(const SegmentBackward& segment, const Chunk& chunk, const at::Tensor& key, const at::Tensor& value,
                    const at::Tensor& d_key, const at::Tensor& d_value) {
  const AttentionShape& shape = segment.shape;
  const int64_t first = segment.start + chunk.first, count = chunk.queries;
  const int64_t width = shape.packed_width(), query_width = shape.query_width();
  const at::Tensor query = gathered(query_rows(shape, segment.qkv, width, first, count, segment.device));
  query.mul_(scale_of(shape));
  const at::Tensor d_out = gathered(query_rows(shape, segment.d_attended, query_width, first, count, segment.device));
  at::Tensor delta = gathered(query_rows(shape, segment.attended, query_width, first, count, segment.device));
  delta = at::sum(delta.mul_(d_out), -1, /*keepdim=*/true);

  const auto seen = [&](const at::Tensor& rows) { return rows.narrow(1, chunk.first_key, chunk.keys); };
  const at::Tensor probabilities = masked_scores(shape, chunk, query, seen(key), segment.device);
  probabilities.view({shape.kv_heads, group_of(shape), count, chunk.keys})
      .sub_(logsumexp_rows(shape, segment.logsumexp, first, count, segment.device).unsqueeze(-1))
      .exp_();
  at::Tensor d_value_seen = seen(d_value), d_key_seen = seen(d_key);
  at::baddbmm_out(d_value_seen, d_value_seen, probabilities.transpose(1, 2), d_out);
  at::Tensor d_scores = at::bmm(d_out, seen(value).transpose(1, 2));
  d_scores.sub_(delta).mul_(probabilities);
  at::baddbmm_out(d_key_seen, d_key_seen, d_scores.transpose(1, 2), query);
  const at::Tensor d_query = at::bmm(d_scores, seen(key)).mul_(scale_of(shape));
  query_rows(shape, segment.d_qkv, width, first, count, segment.device)
      .copy_(d_query.view({shape.kv_heads, group_of(shape), count, shape.head_dim}));
}

}  // namespace

void math_attention(const AttentionShape& shape, std::span<const int32_t> segment_starts, const void* qkv,
                    void* attended, float* logsumexp, c10::Device device) {
  const int64_t width = shape.packed_width(), query_width = shape.query_width();
  for_each_segment(segment_starts, [&](int64_t start, int64_t length) {
    const at::Tensor key = widened(key_rows(shape, qkv, width, query_width, start, length, device));
    const at::Tensor value =
        widened(key_rows(shape, qkv, width, query_width + shape.kv_width(), start, length, device));
    for_each_chunk(shape, length, [&](const Chunk& chunk) {
      const int64_t first = start + chunk.first, count = chunk.queries;
      const at::Tensor query = gathered(query_rows(shape, qkv, width, first, count, device));
      query.mul_(scale_of(shape));
      at::Tensor scores = masked_scores(shape, chunk, query, key.narrow(1, chunk.first_key, chunk.keys), device);
      logsumexp_rows(shape, logsumexp, first, count, device)
          .copy_(softmax_in_place(scores).view({shape.kv_heads, group_of(shape), count}));
      query_rows(shape, attended, query_width, first, count, device)
          .copy_(at::bmm(scores, value.narrow(1, chunk.first_key, chunk.keys))
                     .view({shape.kv_heads, group_of(shape), count, shape.head_dim}));
    });
  });
}

void math_attention_backward(const AttentionShape& shape, std::span<const int32_t> segment_starts, const void* qkv,
                             const void* attended, const float* logsumexp, const void* d_attended, void* d_qkv,
                             c10::Device device) {
  const int64_t width = shape.packed_width(), first_key = shape.query_width();
  const int64_t first_value = first_key + shape.kv_width();
  for_each_segment(segment_starts, [&](int64_t start, int64_t length) {
    const SegmentBackward segment = {shape, start, qkv, attended, logsumexp, d_attended, d_qkv, device};
    const at::Tensor key = widened(key_rows(shape, qkv, width, first_key, start, length, device));
    const at::Tensor value = widened(key_rows(shape, qkv, width, first_value, start, length, device));
    const at::TensorOptions sums = key.options();
    const at::Tensor d_key = at::zeros(key.sizes(), sums), d_value = at::zeros(value.sizes(), sums);
    for_each_chunk(shape, length,
                   [&](const Chunk& chunk) { chunk_backward(segment, chunk, key, value, d_key, d_value); });
    key_rows(shape, d_qkv, width, first_key, start, length, device).copy_(d_key);
    key_rows(shape, d_qkv, width, first_value, start, length, device).copy_(d_value);
  });
}

void math_cached_attention(const AttentionShape& shape, const void* qkv, void* attended, const AttentionCache& cache,
                           c10::Device device) {
  for (int64_t row = 0; row < cache.rows; ++row) {
    const int64_t tokens = cache.lengths[static_cast<size_t>(row)] + 1;
    CHECK_LE(tokens, cache.capacity);
    const int64_t seen = shape.window > 0 ? std::min(tokens, shape.window) : tokens;
    const int64_t first = row * cache.capacity + tokens - seen;
    const at::Tensor query = gathered(query_rows(shape, qkv, shape.packed_width(), row, 1, device));
    const at::Tensor key = widened(key_rows(shape, cache.keys, shape.kv_width(), 0, first, seen, device));
    const at::Tensor value = widened(key_rows(shape, cache.values, shape.kv_width(), 0, first, seen, device));
    at::Tensor scores = at::bmm(query.mul_(scale_of(shape)), key.transpose(1, 2));
    softmax_in_place(scores);
    query_rows(shape, attended, shape.query_width(), row, 1, device)
        .copy_(at::bmm(scores, value).view({shape.kv_heads, group_of(shape), 1, shape.head_dim}));
  }
}

uint64_t math_attention_temporary_bytes(const AttentionShape& shape, int64_t length) {
  const int64_t queries = queries_of_chunk(shape, length), keys = keys_of_chunk(shape, length);
  const int64_t scores = 2 * shape.query_heads * queries * keys;  // probabilities and their gradient
  const int64_t rows = 5 * queries * shape.query_width();         // query, d_out, out, the product, its copy
  const int64_t row_sums = 3 * queries * shape.query_heads;       // maximum, sum, delta
  const int64_t segment = 4 * length * shape.kv_width();          // key, value, d_key, d_value
  const int64_t masks = 3 * queries * keys;                       // of one byte
  return static_cast<uint64_t>(scores + rows + row_sums + segment) * sizeof(float) + static_cast<uint64_t>(masks);
}

}  // namespace penstock
