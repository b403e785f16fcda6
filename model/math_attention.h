// Causal grouped-query attention over packed rows by the plain formula, from public ATen ops alone: batched products in
// fp32 and a softmax. It runs on any device and in any element type, and is the way where flash attention does not go
// (fp32, odd head sizes), and its oracle. Not fast: every score goes through memory four times.
// Queries go by chunks, so that scores take kScoreElements floats (or one query's, where those are more).
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <span>

#include "model/attention.h"

namespace penstock {

inline constexpr int64_t kScoreElements = int64_t{1} << 24;  // 64 MiB of scores, twice in backward

// As attention() and attention_backward() of attention.h, in the memory of `device`; the segments' borders are read on
// the host only. logsumexp [tokens, query_heads].
void math_attention(const AttentionShape& shape, std::span<const int32_t> segment_starts, const void* qkv,
                    void* attended, float* logsumexp, c10::Device device);
void math_attention_backward(const AttentionShape& shape, std::span<const int32_t> segment_starts, const void* qkv,
                             const void* attended, const float* logsumexp, const void* d_attended, void* d_qkv,
                             c10::Device device);
// As cached_attention().
void math_cached_attention(const AttentionShape& shape, const void* qkv, void* attended, const AttentionCache& cache,
                           c10::Device device);

// Upper bound of what the first two allocate for rows of `length` tokens.
uint64_t math_attention_temporary_bytes(const AttentionShape& shape, int64_t length);

}  // namespace penstock
