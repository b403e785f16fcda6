// The decoder in plain LibTorch with autograd, in double: the oracle of the hand-written one.
// Written for reading: attention is one masked softmax over all tokens of the batch.
#pragma once

#include <ATen/ATen.h>

// LibTorch's logging macros of the same names; ours come with the headers below.
#undef CHECK
#undef CHECK_EQ
#undef CHECK_NE
#undef CHECK_LT
#undef CHECK_LE
#undef CHECK_GT
#undef CHECK_GE

#include <cmath>
#include <map>
#include <string>

#include "model/batch_view.h"
#include "model/model_config.h"

namespace penstock::reference {

using Weights = std::map<std::string, at::Tensor>;  // by the name's last part, e.g. "q_proj"

inline at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return x * at::rsqrt(x.square().mean(-1, /*keepdim=*/true) + eps) * weight;
}

// x [N, heads, D]; positions [N].
inline at::Tensor rope(const at::Tensor& x, const at::Tensor& positions, double theta) {
  const int64_t half = x.size(2) / 2;
  const at::Tensor exponents = at::arange(half, at::kDouble) * (-2.0 / static_cast<double>(x.size(2)));
  const at::Tensor angles = at::outer(positions, at::pow(theta, exponents)).unsqueeze(1);
  const at::Tensor low = x.narrow(2, 0, half), high = x.narrow(2, half, half);
  return at::cat({low * angles.cos() - high * angles.sin(), high * angles.cos() + low * angles.sin()}, 2);
}

inline at::Tensor positions_of(const BatchView& batch) {
  return at::tensor(at::ArrayRef<int32_t>(batch.positions.data(), batch.positions.size())).to(at::kDouble);
}

// True where query i may not see key j: another segment, or later.
inline at::Tensor hidden_keys(const BatchView& batch) {
  const int64_t tokens = batch.rows * batch.length;
  at::Tensor hidden = at::ones({tokens, tokens}, at::kBool);
  for (size_t segment = 0; segment + 1 < batch.segment_starts.size(); ++segment) {
    for (int64_t i = batch.segment_starts[segment]; i < batch.segment_starts[segment + 1]; ++i) {
      hidden[i].narrow(0, batch.segment_starts[segment], i + 1 - batch.segment_starts[segment]).fill_(false);
    }
  }
  return hidden;
}

inline at::Tensor block(const ModelConfig& config, const Weights& weights, const at::Tensor& x,
                        const BatchView& batch) {
  const int64_t tokens = x.size(0), head_dim = config.head_dim;
  const auto heads = [&](const at::Tensor& values, int64_t count) { return values.view({tokens, count, head_dim}); };
  const at::Tensor positions = positions_of(batch);
  const int64_t group = config.num_attention_heads / config.num_key_value_heads;
  const at::Tensor normed = rms_norm(x, weights.at("input_layernorm"), config.rms_norm_eps);
  const at::Tensor query =
      rope(heads(normed.matmul(weights.at("q_proj").t()), config.num_attention_heads), positions, config.rope_theta);
  const at::Tensor key =
      rope(heads(normed.matmul(weights.at("k_proj").t()), config.num_key_value_heads), positions, config.rope_theta);
  const at::Tensor value = heads(normed.matmul(weights.at("v_proj").t()), config.num_key_value_heads);
  const at::Tensor scores =
      at::einsum("ihd,jhd->hij", {query, key.repeat_interleave(group, 1)}) / std::sqrt(static_cast<double>(head_dim));
  const at::Tensor shares = scores.masked_fill(hidden_keys(batch), -INFINITY).softmax(-1);
  const at::Tensor attended = at::einsum("hij,jhd->ihd", {shares, value.repeat_interleave(group, 1)});
  const at::Tensor residual = x + attended.reshape({tokens, -1}).matmul(weights.at("o_proj").t());
  const at::Tensor post = rms_norm(residual, weights.at("post_attention_layernorm"), config.rms_norm_eps);
  const at::Tensor gate = at::silu(post.matmul(weights.at("gate_proj").t()));
  return residual + (gate * post.matmul(weights.at("up_proj").t())).matmul(weights.at("down_proj").t());
}

inline at::Tensor logits(const ModelConfig& config, const Weights& weights, const at::Tensor& x) {
  return rms_norm(x, weights.at("norm"), config.rms_norm_eps).matmul(weights.at("lm_head").t());
}

// Sum over the trained targets.
inline at::Tensor loss_sum(const ModelConfig& config, const Weights& weights, const at::Tensor& x,
                           const BatchView& batch) {
  const at::Tensor targets =
      at::tensor(at::ArrayRef<int32_t>(batch.targets.data(), batch.targets.size())).to(at::kLong);
  return at::cross_entropy_loss(logits(config, weights, x), targets, /*weight=*/{}, at::Reduction::Sum,
                                kUntrainedTarget);
}

}  // namespace penstock::reference
