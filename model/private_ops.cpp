#include "model/private_ops.h"

#include <algorithm>

#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>

namespace penstock {

namespace {

// The largest tile of the CPU kernels: 256 queries by 512 keys, for each thread.
constexpr uint64_t kTileQueries = 256, kTileKeys = 512;

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

}  // namespace penstock
