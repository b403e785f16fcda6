#include "model/private_ops.h"

#include <algorithm>

#include <ATen/ops/_flash_attention_backward.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

namespace penstock {

namespace {

// The largest tile of the CPU kernels: 256 queries by 512 keys, for each thread.
constexpr uint64_t kTileQueries = 256, kTileKeys = 512;

constexpr double kNoDropout = 0;
// causal sets the right side of the window itself (mha_varlen_fwd: window_size_right = 0).
constexpr std::optional<int64_t> kRightOfWindow = std::nullopt;

// The kernel's window counts the keys before the query's own.
std::optional<int64_t> left_of_window(int64_t window) {
  return window > 0 ? std::optional<int64_t>(window - 1) : std::nullopt;
}

// mha_varlen_fwd takes longest == 1 as a sign of decoding: with grouped heads it regroups the queries, which needs as
// many queries as segments. A larger value only adds blocks of queries that find themselves empty.
int64_t longest_of(const FlashSegments& segments) { return std::max<int64_t>(2, segments.longest); }

}  // namespace

FlashForward flash_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, bool causal,
                             const std::optional<at::Tensor>& mask) {
  auto [out, logsumexp] = at::_scaled_dot_product_flash_attention_for_cpu(query, key, value, 0.0, causal, mask);
  return {out, logsumexp};
}

FlashBackward flash_attention_backward(const at::Tensor& d_out, const at::Tensor& query, const at::Tensor& key,
                                       const at::Tensor& value, const at::Tensor& out, const at::Tensor& logsumexp,
                                       bool causal, const std::optional<at::Tensor>& mask) {
  auto [d_query, d_key, d_value] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
      d_out, query, key, value, out, logsumexp, 0.0, causal, mask);
  return {d_query, d_key, d_value};
}

uint64_t flash_attention_scratch_bytes(DType dtype, int64_t head_dim, int threads) {
  const uint64_t tile = kTileQueries * kTileKeys;
  const uint64_t row_state = kTileQueries * (2 + static_cast<uint64_t>(head_dim));  // maximum, sum, output
  const uint64_t forward = (tile + row_state) * sizeof(float) + tile * dtype_bytes(dtype);
  const uint64_t backward = (2 * tile + kTileQueries) * sizeof(float) + 2 * tile * dtype_bytes(dtype);
  return static_cast<uint64_t>(threads) * std::max(forward, backward);
}

FlashForward flash_segments(const FlashSegments& segments) {
  // _flash_attention_forward: with cum_seq_q it is mha_varlen_fwd, whose softmax_lse is [num_heads, total_q].
  auto [out, logsumexp, rng_state, unused, debug_mask] = at::_flash_attention_forward(
      segments.query, segments.key, segments.value, segments.starts, segments.starts, longest_of(segments),
      longest_of(segments), kNoDropout, /*is_causal=*/true, /*return_debug_mask=*/false, /*scale=*/std::nullopt,
      left_of_window(segments.window), kRightOfWindow);
  return {out, logsumexp};
}

FlashBackward flash_segments_backward(const FlashSegments& segments, const at::Tensor& d_out, const at::Tensor& out,
                                      const at::Tensor& logsumexp) {
  // Dropout's state, which mha_varlen_bwd reads only where there is dropout: empty tensors of forward's shapes.
  const at::TensorOptions random = segments.query.options().dtype(at::kUInt64);
  const at::Tensor rng_state = at::empty({2}, random), unused = at::empty({}, random);
  auto [d_query, d_key, d_value] = at::_flash_attention_backward(
      d_out, segments.query, segments.key, segments.value, out, logsumexp, segments.starts, segments.starts,
      longest_of(segments), longest_of(segments), kNoDropout, /*is_causal=*/true, rng_state, unused,
      /*scale=*/std::nullopt, left_of_window(segments.window), kRightOfWindow);
  return {d_query, d_key, d_value};
}

at::Tensor flash_one_query(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value) {
  // Without cum_seq_q it is mha_fwd, which regroups the one query's heads and splits long keys over blocks.
  auto [out, logsumexp, rng_state, unused, debug_mask] = at::_flash_attention_forward(
      query, key, value, /*cum_seq_q=*/std::nullopt, /*cum_seq_k=*/std::nullopt, query.size(1), key.size(1), kNoDropout,
      /*is_causal=*/false, /*return_debug_mask=*/false);
  return out;
}

void product_into_fp32(at::Tensor& out, const at::Tensor& a, const at::Tensor& b, bool accumulate) {
  // _addmm_dtype_out_cuda wants self in out's or in mat1's type. Where self is out, addmm_out_cuda_impl copies nothing
  // and its GEMM (bf16 operands, fp32 C, beta 1) sums in place.
  if (accumulate)
    at::addmm_out(out, out, a, b, at::kFloat);
  else
    at::mm_out(out, a, b, at::kFloat);
}

}  // namespace penstock
