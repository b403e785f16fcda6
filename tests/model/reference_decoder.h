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

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "model/batch_view.h"
#include "model/model_config.h"

namespace penstock::reference {

using Weights = std::map<std::string, at::Tensor>;  // by the name's last part, e.g. "q_proj" or "q_proj.bias"

inline at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return x * at::rsqrt(x.square().mean(-1, /*keepdim=*/true) + eps) * weight;
}

// Written from the papers' formulas, in double, pair by pair: nothing of the product's is used here.
inline std::vector<double> inverse_frequencies(const ModelConfig& config) {
  const RopeScaling& scaling = config.rope_scaling;
  const double dim = static_cast<double>(config.head_dim), theta = config.rope_theta;
  const auto original = static_cast<double>(scaling.original_max_position_embeddings);
  const auto turns_index = [&](double turns) {
    const double index = dim * std::log(original / (turns * 2 * M_PI)) / (2 * std::log(theta));
    return index;
  };
  std::vector<double> frequencies;
  for (int64_t i = 0; i < config.head_dim / 2; ++i) {
    const double plain = std::pow(theta, -2.0 * static_cast<double>(i) / dim);
    const double divided = plain / scaling.factor;
    double frequency = plain;
    if (scaling.type == RopeType::kLinear) frequency = divided;
    if (scaling.type == RopeType::kLlama3) {
      const double turns = original * plain / (2 * M_PI);  // over the original context
      const double smooth = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
      frequency = divided + (plain - divided) * std::min(1.0, std::max(0.0, smooth));
    }
    if (scaling.type == RopeType::kYarn) {
      double low = turns_index(scaling.beta_fast), high = turns_index(scaling.beta_slow);
      if (scaling.truncate) low = std::floor(low), high = std::ceil(high);
      low = std::max(low, 0.0);
      high = std::min(high, dim - 1);
      const double ramp = std::min(1.0, std::max(0.0, (static_cast<double>(i) - low) / (high - low)));
      frequency = divided * ramp + plain * (1 - ramp);
    }
    frequencies.push_back(frequency);
  }
  return frequencies;
}

// x [N, heads, D]; positions [N].
inline at::Tensor rope(const ModelConfig& config, const at::Tensor& x, const at::Tensor& positions) {
  const int64_t half = x.size(2) / 2;
  const at::Tensor angles = at::outer(positions, at::tensor(inverse_frequencies(config))).unsqueeze(1);
  const double scale = config.rope_scaling.type == RopeType::kYarn ? config.rope_scaling.attention_factor : 1.0;
  const at::Tensor low = x.narrow(2, 0, half) * scale, high = x.narrow(2, half, half) * scale;
  return at::cat({low * angles.cos() - high * angles.sin(), high * angles.cos() + low * angles.sin()}, 2);
}

inline at::Tensor positions_of(const BatchView& batch) {
  return at::tensor(at::ArrayRef<int32_t>(batch.positions.data(), batch.positions.size())).to(at::kDouble);
}

// True where query i may not see key j: another segment, later, or before the window.
inline at::Tensor hidden_keys(const BatchView& batch, int64_t window) {
  const int64_t tokens = batch.rows * batch.length;
  at::Tensor hidden = at::ones({tokens, tokens}, at::kBool);
  for (size_t segment = 0; segment + 1 < batch.segment_starts.size(); ++segment) {
    for (int64_t i = batch.segment_starts[segment]; i < batch.segment_starts[segment + 1]; ++i) {
      int64_t first = batch.segment_starts[segment];
      if (window > 0) first = std::max(first, i - window + 1);
      hidden[i].narrow(0, first, i + 1 - first).fill_(false);
    }
  }
  return hidden;
}

// x W^T, and the bias where the weights have one.
inline at::Tensor linear(const Weights& weights, const std::string& name, const at::Tensor& x) {
  const at::Tensor product = x.matmul(weights.at(name).t());
  return weights.count(name + ".bias") == 0 ? product : product + weights.at(name + ".bias");
}

inline at::Tensor block(const ModelConfig& config, const Weights& weights, const at::Tensor& x, const BatchView& batch,
                        int64_t index = 0) {
  const int64_t tokens = x.size(0), head_dim = config.head_dim;
  const at::Tensor positions = positions_of(batch);
  const int64_t group = config.num_attention_heads / config.num_key_value_heads;
  const at::Tensor normed = rms_norm(x, weights.at("input_layernorm"), config.rms_norm_eps);
  const auto heads = [&](const char* name, int64_t count) {
    return linear(weights, name, normed).view({tokens, count, head_dim});
  };
  const auto prepared = [&](at::Tensor values, const char* norm) {
    if (config.qk_norm) values = rms_norm(values, weights.at(norm), config.rms_norm_eps);
    return config.rotates(index) ? rope(config, values, positions) : values;
  };
  const at::Tensor query = prepared(heads("q_proj", config.num_attention_heads), "q_norm");
  const at::Tensor key = prepared(heads("k_proj", config.num_key_value_heads), "k_norm");
  const at::Tensor value = heads("v_proj", config.num_key_value_heads);
  const at::Tensor scores =
      at::einsum("ihd,jhd->hij", {query, key.repeat_interleave(group, 1)}) / std::sqrt(static_cast<double>(head_dim));
  const at::Tensor shares = scores.masked_fill(hidden_keys(batch, config.window(index)), -INFINITY).softmax(-1);
  const at::Tensor attended = at::einsum("hij,jhd->ihd", {shares, value.repeat_interleave(group, 1)});
  const at::Tensor residual = x + linear(weights, "o_proj", attended.reshape({tokens, -1}));
  const at::Tensor post = rms_norm(residual, weights.at("post_attention_layernorm"), config.rms_norm_eps);
  const at::Tensor gate = at::silu(linear(weights, "gate_proj", post));
  return residual + linear(weights, "down_proj", gate * linear(weights, "up_proj", post));
}

inline at::Tensor logits(const ModelConfig& config, const Weights& weights, const at::Tensor& x) {
  const char* head = config.tie_word_embeddings ? "embed_tokens" : "lm_head";
  return rms_norm(x, weights.at("norm"), config.rms_norm_eps).matmul(weights.at(head).t());
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
