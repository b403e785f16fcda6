// Schedules against values worked out by hand, and their shape.
#include "optim/learning_rate.h"

#include <gtest/gtest.h>

#include <cmath>

namespace penstock {
namespace {

LearningRateSettings settings_of(LrSchedulerType type) {
  return {.type = type, .peak = 1.0, .minimum = 0.2, .warmup_steps = 4, .total_steps = 12, .decay_steps = 4};
}

TEST(LearningRate, WarmUpIsLinearAndNeverZero) {
  for (const auto type :
       {LrSchedulerType::kConstant, LrSchedulerType::kLinear, LrSchedulerType::kCosine, LrSchedulerType::kWsd}) {
    const LearningRateSettings settings = settings_of(type);
    EXPECT_DOUBLE_EQ(learning_rate_at(settings, 0), 0.25);
    EXPECT_DOUBLE_EQ(learning_rate_at(settings, 1), 0.5);
    EXPECT_DOUBLE_EQ(learning_rate_at(settings, 2), 0.75);
    EXPECT_DOUBLE_EQ(learning_rate_at(settings, 3), 1.0);
    EXPECT_DOUBLE_EQ(learning_rate_at(settings, 4), 1.0);
  }
}

TEST(LearningRate, Constant) {
  EXPECT_DOUBLE_EQ(learning_rate_at(settings_of(LrSchedulerType::kConstant), 8), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(settings_of(LrSchedulerType::kConstant), 1000), 1.0);
}

TEST(LearningRate, Linear) {
  const LearningRateSettings settings = settings_of(LrSchedulerType::kLinear);
  EXPECT_DOUBLE_EQ(learning_rate_at(settings, 5), 0.9);
  EXPECT_DOUBLE_EQ(learning_rate_at(settings, 8), 0.6);
  EXPECT_DOUBLE_EQ(learning_rate_at(settings, 11), 0.3);
  EXPECT_DOUBLE_EQ(learning_rate_at(settings, 12), 0.2);
  EXPECT_DOUBLE_EQ(learning_rate_at(settings, 13), 0.2);
}

TEST(LearningRate, Cosine) {
  const LearningRateSettings settings = settings_of(LrSchedulerType::kCosine);
  EXPECT_DOUBLE_EQ(learning_rate_at(settings, 6), 0.2 + 0.8 * (0.5 + std::sqrt(2.0) / 4));
  EXPECT_DOUBLE_EQ(learning_rate_at(settings, 8), 0.6);
  EXPECT_DOUBLE_EQ(learning_rate_at(settings, 10), 0.2 + 0.8 * (0.5 - std::sqrt(2.0) / 4));
  EXPECT_DOUBLE_EQ(learning_rate_at(settings, 12), 0.2);
  EXPECT_DOUBLE_EQ(learning_rate_at(settings, 500), 0.2);
}

TEST(LearningRate, WarmupStableDecay) {
  const LearningRateSettings settings = settings_of(LrSchedulerType::kWsd);
  EXPECT_DOUBLE_EQ(learning_rate_at(settings, 7), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(settings, 8), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(settings, 9), 0.8);
  EXPECT_DOUBLE_EQ(learning_rate_at(settings, 11), 0.4);
  EXPECT_DOUBLE_EQ(learning_rate_at(settings, 12), 0.2);
  EXPECT_DOUBLE_EQ(learning_rate_at(settings, 99), 0.2);
}

TEST(LearningRate, WsdDecayLongerThanTheRunStartsAfterTheWarmUp) {
  LearningRateSettings settings = settings_of(LrSchedulerType::kWsd);
  settings.decay_steps = 100;
  EXPECT_DOUBLE_EQ(learning_rate_at(settings, 3), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(settings, 8), 0.6);
}

TEST(LearningRate, NeverRisesAfterTheWarmUp) {
  for (const auto type :
       {LrSchedulerType::kConstant, LrSchedulerType::kLinear, LrSchedulerType::kCosine, LrSchedulerType::kWsd}) {
    const LearningRateSettings settings{
        .type = type, .peak = 3e-4, .minimum = 1e-5, .warmup_steps = 17, .total_steps = 500, .decay_steps = 120};
    for (int64_t step = 1; step < 600; ++step) {
      const double before = learning_rate_at(settings, step - 1);
      const double now = learning_rate_at(settings, step);
      if (step < settings.warmup_steps) {
        ASSERT_GT(now, before) << step;
      } else {
        ASSERT_LE(now, before) << step;
      }
      ASSERT_GT(now, 0);
      ASSERT_LE(now, settings.peak);
    }
  }
}

TEST(LearningRate, WithoutWarmUpStartsAtThePeak) {
  LearningRateSettings settings = settings_of(LrSchedulerType::kLinear);
  settings.warmup_steps = 0;
  EXPECT_DOUBLE_EQ(learning_rate_at(settings, 0), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(settings, 6), 0.6);
}

TEST(LearningRate, WarmUpAsLongAsTheRun) {
  LearningRateSettings settings = settings_of(LrSchedulerType::kCosine);
  settings.warmup_steps = 12;
  EXPECT_DOUBLE_EQ(learning_rate_at(settings, 11), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(settings, 12), 0.2);
}

}  // namespace
}  // namespace penstock
