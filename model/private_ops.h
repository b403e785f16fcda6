// Every private ATen op that Penstock calls. Their signatures change between minor releases of LibTorch, hence one file
// and a pinned version.
#pragma once

#include <optional>

#include <ATen/core/Tensor.h>

#include "core/dtype.h"

namespace penstock {

struct FlashForward {
  at::Tensor out;        // as query, token-major in memory
  at::Tensor logsumexp;  // fp32 [B, H, T], token-major in memory
};
struct FlashBackward {
  at::Tensor d_query, d_key, d_value;  // token-major in memory
};

// query [B, H, Tq, D], key and value [B, Hkv, Tk, D] with H a multiple of Hkv; the last stride is 1. Scale 1/sqrt(D).
// `mask`, fp32 [Tq, Tk] and not together with `causal`, is added to the scores.
FlashForward flash_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, bool causal,
                             const std::optional<at::Tensor>& mask = {});
FlashBackward flash_attention_backward(const at::Tensor& d_out, const at::Tensor& query, const at::Tensor& key,
                                       const at::Tensor& value, const at::Tensor& out, const at::Tensor& logsumexp,
                                       bool causal, const std::optional<at::Tensor>& mask = {});

// Upper bound of the scratch these ops take beside their results.
uint64_t flash_attention_scratch_bytes(DType dtype, int64_t head_dim, int threads);

}  // namespace penstock
