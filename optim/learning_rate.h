// Learning-rate schedules, under the names Hugging Face and LLaMA-Factory use.
// After the warm-up, step i runs at progress (i - warmup_steps) / (total_steps - warmup_steps), as in transformers: the
// first step after it runs at the peak, `minimum` is what total_steps would run at, and no step is wasted on a rate of
// 0.
#pragma once

#include <cstdint>

namespace penstock {

enum class LrSchedulerType : uint8_t { kConstant, kLinear, kCosine, kWsd };

struct LearningRateSettings {
  LrSchedulerType type = LrSchedulerType::kCosine;
  double peak = 1e-4;
  double minimum = 0;        // what linear, cosine and wsd fall to
  int64_t warmup_steps = 0;  // linear warm-up: step i (0-based) runs at peak * (i + 1) / warmup_steps
  int64_t total_steps = 1;
  int64_t decay_steps = 0;  // wsd only: the last steps, falling linearly to `minimum`
};

// The rate of the 0-based step. Constant after total_steps.
double learning_rate_at(const LearningRateSettings& settings, int64_t step);

}  // namespace penstock
