// Causal grouped-query attention over packed rows: one call of the flash kernel for each segment; segments of one
// length that follow each other (whole rows above all) share a call. Segments longer than the window go by chunks of
// queries (windowed_attention.h).
#pragma once

#include <cstdint>
#include <span>

#include "core/dtype.h"
#include "model/batch_view.h"

namespace penstock {

struct AttentionShape {
  DType dtype;
  int64_t query_heads, kv_heads, head_dim;
  int64_t window = 0;  // a query sees so many keys, its own included; 0: all

  int64_t query_width() const { return query_heads * head_dim; }
  int64_t kv_width() const { return kv_heads * head_dim; }
  int64_t packed_width() const { return query_width() + 2 * kv_width(); }
};

// qkv [tokens, q + k + v] after RoPE -> attended [tokens, q] and logsumexp [tokens, query_heads].
void attention(const AttentionShape& shape, const BatchView& batch, void* qkv, void* attended, float* logsumexp);

// d_qkv [tokens, q + k + v] from d_attended.
void attention_backward(const AttentionShape& shape, const BatchView& batch, void* qkv, void* attended,
                        float* logsumexp, void* d_attended, void* d_qkv);

// One block's keys or values of every row: [rows, capacity, kv_heads, head_dim].
struct AttentionCache {
  void* keys;
  void* values;
  int64_t rows, capacity;
  std::span<const int32_t> lengths;  // tokens of each row before this call
};
// Copies keys and values of every token to its place: rows of `length` tokens are appended to the cache's rows.
void append_to_cache(const AttentionShape& shape, int64_t length, const void* qkv, const AttentionCache& cache);
// One query a row against the row's cache, or its last `window` tokens, the query's own key included (append first).
void cached_attention(const AttentionShape& shape, void* qkv, void* attended, const AttentionCache& cache);

// Upper bound of what LibTorch allocates in any of these calls, for `rows` rows of `length` tokens.
uint64_t attention_temporary_bytes(const AttentionShape& shape, int64_t rows, int64_t length, int threads);

}  // namespace penstock
