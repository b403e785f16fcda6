// AdamW in fp32 written plainly, the oracle of `exact` and `float32`.
#pragma once

#include <cmath>
#include <span>
#include <vector>

#include "core/layer_layout.h"
#include "optim/host_optimizer.h"

namespace penstock {

// fp32 AdamW from the paper, one parameter at a time.
struct ReferenceAdamW {
  std::vector<float> master, m, v;

  explicit ReferenceAdamW(std::span<const float> start)
      : master(start.begin(), start.end()), m(start.size(), 0.0f), v(start.size(), 0.0f) {}

  void update(size_t i, float gradient, const AdamWStep& step, bool decays) {
    const auto rate = static_cast<float>(step.learning_rate / (1.0 - std::pow(step.beta1, step.update_count)));
    const auto second_correction = static_cast<float>(std::sqrt(1.0 - std::pow(step.beta2, step.update_count)));
    gradient *= step.gradient_scale;
    if (decays) master[i] *= static_cast<float>(1.0 - step.learning_rate * step.weight_decay);
    m[i] += static_cast<float>(1.0 - step.beta1) * (gradient - m[i]);
    v[i] *= static_cast<float>(step.beta2);
    v[i] += static_cast<float>(1.0 - step.beta2) * gradient * gradient;
    const float denominator = std::sqrt(v[i]) / second_correction + static_cast<float>(step.eps);
    master[i] -= rate * m[i] / denominator;
  }

  void update_all(const LayerLayout& layout, std::span<const float> gradients, const AdamWStep& step) {
    size_t next = 0;
    for (const TensorPlace& tensor : layout.tensors()) {
      for (uint64_t i = 0; i < tensor.element_count; ++i, ++next)
        update(next, gradients[next], step, tensor.spec.decays);
    }
  }
};

}  // namespace penstock
