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

// On the host. query [B, H, Tq, D], key and value [B, Hkv, Tk, D] with H a multiple of Hkv; the last stride is 1. Scale
// 1/sqrt(D). `mask`, fp32 [Tq, Tk] and not together with `causal`, is added to the scores.
FlashForward flash_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, bool causal,
                             const std::optional<at::Tensor>& mask = {});
FlashBackward flash_attention_backward(const at::Tensor& d_out, const at::Tensor& query, const at::Tensor& key,
                                       const at::Tensor& value, const at::Tensor& out, const at::Tensor& logsumexp,
                                       bool causal, const std::optional<at::Tensor>& mask = {});
// Upper bound of the scratch these ops take beside their results.
uint64_t flash_attention_scratch_bytes(DType dtype, int64_t head_dim, int threads);

// On CUDA (or with emulated_aten_ops.h): causal attention inside segments that lie one after the other.
// query [total, H, D], key and value [total, Hkv, D] in bf16; last stride 1, D a multiple of 8 and at most 256, rows
// and heads on 16-byte borders. `starts`, int32 on the device, are the segments' first tokens in `query` and the end of
// the last: they need not begin at 0. A query sees `window` keys, its own included; 0: all. Scale 1/sqrt(D).
struct FlashSegments {
  at::Tensor query, key, value, starts;
  int64_t longest, window;
};
// logsumexp: fp32 [H, total], contiguous. Tokens outside the segments keep arbitrary values.
FlashForward flash_segments(const FlashSegments& segments);
// d_out and out contiguous [total, H, D]; logsumexp as flash_segments() returns it.
FlashBackward flash_segments_backward(const FlashSegments& segments, const at::Tensor& d_out, const at::Tensor& out,
                                      const at::Tensor& logsumexp);
// One query [1, 1, H, D] against all of key and value [1, Tk, Hkv, D] -> [1, 1, H, D].
at::Tensor flash_one_query(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value);

// out = or += a b, for bf16 a and b and fp32 out: one GEMM that sums into `out` itself.
void product_into_fp32(at::Tensor& out, const at::Tensor& a, const at::Tensor& b, bool accumulate);

}  // namespace penstock
