#include "model/rope_frequencies.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/reciprocal.h>
#include <ATen/ops/rsub.h>
#include <ATen/ops/where.h>

namespace penstock {

namespace {

// theta^(2i/D)
at::Tensor powers(double theta, int64_t head_dim) {
  return at::pow(theta, at::arange(0, head_dim, 2, at::kFloat).div_(static_cast<double>(head_dim)));
}

// The base that a row of max_position_embeddings tokens or less gets: theta but for rounding.
double dynamic_theta(const ModelConfig& config) {
  const double factor = config.rope_scaling.factor, dim = static_cast<double>(config.head_dim);
  const auto length = static_cast<double>(config.max_position_embeddings);
  return config.rope_theta * std::pow((factor * length / length) - (factor - 1), dim / (dim - 2));
}

// The index of the pair that turns `rotations` times over the original context.
double yarn_correction_index(const ModelConfig& config, double rotations) {
  const auto length = static_cast<double>(config.rope_scaling.original_max_position_embeddings);
  return static_cast<double>(config.head_dim) * std::log(length / (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(config.rope_theta));
}

// Fast pairs stay as they are, slow ones are interpolated by `factor`, with a ramp between.
at::Tensor yarn(const ModelConfig& config) {
  const RopeScaling& scaling = config.rope_scaling;
  double low = yarn_correction_index(config, scaling.beta_fast);
  double high = yarn_correction_index(config, scaling.beta_slow);
  if (scaling.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(config.head_dim - 1));
  if (low == high) high += 0.001;
  const at::Tensor position_powers = powers(config.rope_theta, config.head_dim);
  const at::Tensor extrapolated = position_powers.reciprocal();
  const at::Tensor interpolated = position_powers.mul(scaling.factor).reciprocal();
  const at::Tensor ramp = at::clamp(at::arange(config.head_dim / 2, at::kFloat).sub(low).div(high - low), 0, 1);
  const at::Tensor kept = at::rsub(ramp, 1);
  return interpolated.mul(at::rsub(kept, 1)).add(extrapolated.mul(kept));
}

// Wavelengths beyond the original context are interpolated by `factor`, short ones kept, those between smoothed.
at::Tensor llama3(const ModelConfig& config) {
  const RopeScaling& scaling = config.rope_scaling;
  const auto length = static_cast<double>(scaling.original_max_position_embeddings);
  const double longest = length / scaling.low_freq_factor, shortest = length / scaling.high_freq_factor;
  const at::Tensor plain = powers(config.rope_theta, config.head_dim).reciprocal();
  const at::Tensor wavelengths = plain.reciprocal().mul(2 * std::numbers::pi);
  const at::Tensor is_long = wavelengths.gt(longest);
  const at::Tensor divided = at::where(is_long, plain.div(scaling.factor), plain);
  const at::Tensor smooth = wavelengths.reciprocal()
                                .mul(length)
                                .sub(scaling.low_freq_factor)
                                .div(scaling.high_freq_factor - scaling.low_freq_factor);
  const at::Tensor smoothed = at::rsub(smooth, 1).mul(divided).div(scaling.factor).add(smooth.mul(divided));
  const at::Tensor is_medium = wavelengths.lt(shortest).logical_or(is_long).logical_not();
  return at::where(is_medium, smoothed, divided);
}

at::Tensor inverse_frequencies(const ModelConfig& config) {
  switch (config.rope_scaling.type) {
    case RopeType::kDefault:
      return powers(config.rope_theta, config.head_dim).reciprocal();
    case RopeType::kLinear:
      return powers(config.rope_theta, config.head_dim).reciprocal().div(config.rope_scaling.factor);
    case RopeType::kDynamic:
      return powers(dynamic_theta(config), config.head_dim).reciprocal();
    case RopeType::kYarn:
      return yarn(config);
    case RopeType::kLlama3:
      return llama3(config);
  }
  return {};
}

}  // namespace

RopeFrequencies rope_frequencies(const ModelConfig& config) {
  const at::Tensor inverse = inverse_frequencies(config).contiguous();
  const float* first = inverse.const_data_ptr<float>();
  RopeFrequencies frequencies{std::vector<float>(first, first + inverse.numel())};
  if (config.rope_scaling.type == RopeType::kYarn) {
    frequencies.scale = static_cast<float>(config.rope_scaling.attention_factor);
  }
  return frequencies;
}

}  // namespace penstock
