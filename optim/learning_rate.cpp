#include "optim/learning_rate.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/check.h"

namespace penstock {
namespace {

// 0 at `first` (or before), 1 at `last` (or after). An empty range is already over.
double progress(int64_t step, int64_t first, int64_t last) {
  if (step >= last) return 1;
  if (step <= first) return 0;
  return static_cast<double>(step - first) / static_cast<double>(last - first);
}

}  // namespace

double learning_rate_at(const LearningRateSettings& settings, int64_t step) {
  CHECK_GE(step, 0);
  CHECK_GE(settings.warmup_steps, 0);
  CHECK_GE(settings.decay_steps, 0);
  if (step < settings.warmup_steps) {
    return settings.peak * static_cast<double>(step + 1) / static_cast<double>(settings.warmup_steps);
  }
  const double range = settings.peak - settings.minimum;
  switch (settings.type) {
    case LrSchedulerType::kConstant:
      return settings.peak;
    case LrSchedulerType::kLinear:
      return settings.minimum + range * (1 - progress(step, settings.warmup_steps, settings.total_steps));
    case LrSchedulerType::kCosine: {
      const double angle = std::numbers::pi * progress(step, settings.warmup_steps, settings.total_steps);
      return settings.minimum + range * 0.5 * (1 + std::cos(angle));
    }
    case LrSchedulerType::kWsd: {
      const int64_t decay_start = std::max(settings.warmup_steps, settings.total_steps - settings.decay_steps);
      return settings.minimum + range * (1 - progress(step, decay_start, settings.total_steps));
    }
  }
  CHECK(false);
}

}  // namespace penstock
