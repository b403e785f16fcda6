// Attention in which a query sees only the last `window` keys, for segments that are longer than that: chunks of
// queries, each against the keys that any of its queries sees, under a band mask. Work and memory grow linearly with
// the length. Keys lie in the windows of more than one chunk: their gradients are summed in fp32, in order.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "model/attention.h"

namespace penstock {

// query [count, heads, length, head_dim], key and value [count, kv_heads, length, head_dim].
struct HeadViews {
  at::Tensor query, key, value;
};

// Into attended (as query) and logsumexp [count, heads, length].
void windowed_attention(int64_t window, const HeadViews& heads, const at::Tensor& attended,
                        const at::Tensor& logsumexp);
// Into d_heads.
void windowed_attention_backward(int64_t window, const HeadViews& heads, const at::Tensor& attended,
                                 const at::Tensor& logsumexp, const at::Tensor& d_attended, const HeadViews& d_heads);

// Upper bound of what these take beyond the results of one whole call of the flash kernel, for `rows` x `length`.
uint64_t windowed_attention_extra_bytes(const AttentionShape& shape, int64_t rows, int64_t length);

}  // namespace penstock
