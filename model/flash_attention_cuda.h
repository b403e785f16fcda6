// Attention on CUDA by LibTorch's flash kernels: all segments of a micro-batch in one call, described by their borders
// on the device. Queries, keys and values are read where they lie in the packed rows. The ops have no out variants:
// results are copied into planned buffers, 2 (q + 2 kv) bytes a token each way, about 1% of the kernels' own time.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>

#include "model/attention.h"

namespace penstock {

// bf16 and heads of a size that is a multiple of 8 and at most 256 (the checks of mha_varlen_fwd); others go by
// math_attention.h.
bool cuda_flash_takes(const AttentionShape& shape);

// As attention() and attention_backward(). Borders are read from batch.device, their number and the longest segment
// from the host's copy. logsumexp [query_heads, tokens], as the kernels have it.
void cuda_flash_attention(const AttentionShape& shape, const BatchView& batch, const void* qkv, void* attended,
                          float* logsumexp, c10::Device device);
void cuda_flash_attention_backward(const AttentionShape& shape, const BatchView& batch, const void* qkv,
                                   const void* attended, const float* logsumexp, const void* d_attended, void* d_qkv,
                                   c10::Device device);
// As cached_attention().
void cuda_flash_cached_attention(const AttentionShape& shape, const void* qkv, void* attended,
                                 const AttentionCache& cache, c10::Device device);

// Upper bound of what any of these allocate, for `rows` rows of `length` tokens, packed in any way.
uint64_t cuda_flash_temporary_bytes(const AttentionShape& shape, int64_t rows, int64_t length, bool deterministic);

}  // namespace penstock
