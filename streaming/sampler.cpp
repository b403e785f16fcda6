#include "streaming/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/check.h"
#include "core/error.h"
#include "core/random.h"

namespace penstock {
namespace {

// Most likely first; ties by id.
std::vector<int32_t> ranked_tokens(std::span<const float> logits) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
  });
  return order;
}

// A NaN has no place in an order: sorting by it would be undefined.
void require_finite(std::span<const float> logits) {
  const bool has_nan = std::any_of(logits.begin(), logits.end(), [](float logit) { return std::isnan(logit); });
  if (!has_nan && std::isfinite(*std::max_element(logits.begin(), logits.end()))) return;
  throw Error(ExitCode::kNumericStop,
              "generate: the logits are not finite; the weights have diverged, use an earlier checkpoint");
}

}  // namespace

int32_t sample_token(std::span<const float> logits, const SamplingSettings& settings, uint64_t row, uint64_t draw) {
  CHECK(!logits.empty());
  require_finite(logits);
  if (settings.greedy) {
    return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  }
  CHECK_GT(settings.temperature, 0.0);
  std::vector<int32_t> order = ranked_tokens(logits);
  if (settings.top_k > 0) order.resize(std::min(order.size(), static_cast<size_t>(settings.top_k)));
  std::vector<double> weights;
  const double top = logits[static_cast<size_t>(order.front())];
  for (int32_t token : order) {
    weights.push_back(std::exp((logits[static_cast<size_t>(token)] - top) / settings.temperature));
  }
  double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  // Keeps the token that reaches top_p, and drops the rest.
  double kept = 0;
  size_t count = 0;
  while (count < weights.size() && (count == 0 || kept < settings.top_p * total)) kept += weights[count++];
  double threshold = CounterRandom(settings.seed, row).uniform_double(draw) * kept;
  for (size_t i = 0; i < count; ++i) {
    threshold -= weights[i];
    if (threshold < 0) return order[i];
  }
  return order[count - 1];
}

}  // namespace penstock
