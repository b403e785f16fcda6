// Stochastic rounding is unbiased in the value, and the compact formats go where fp32 AdamW goes.
#include <gtest/gtest.h>

#include "compact_reference.h"
#include "layer_state.h"

namespace penstock {
namespace {

constexpr uint64_t kSeed = 5772;
constexpr int64_t kCount = 1 << 18;

struct Mean {
  double sum = 0;
  int64_t count = 0;

  void add(double value) { sum += value, ++count; }
  double value() const { return sum / static_cast<double>(count); }
  // Four standard errors of a mean of values that are one of two neighbours, whichever the odds.
  double four_sigma(double step) const { return 4 * 0.5 * step / std::sqrt(static_cast<double>(count)); }
};

// The distance of two bf16 around a value.
double bf16_step(double value) { return std::exp2(std::floor(std::log2(std::abs(value))) - 7); }

AdamWStep step_of(uint64_t seed) { return {.learning_rate = 1e-3, .weight_decay = 0.7, .seed = seed, .layer = 1}; }

class RoundedFormats : public testing::TestWithParam<StateFormat> {};
INSTANTIATE_TEST_SUITE_P(Formats, RoundedFormats, testing::Values(StateFormat::kCompact, StateFormat::kCompact8),
                         [](const auto& suite) { return std::string(state_format_name(suite.param)); });

// Decay alone moves a master by less than half a bf16 step: to nearest it would never move.
TEST_P(RoundedFormats, MastersAreUnbiased) {
  WorkerTeam team(2);
  for (const float start : {1.0f, -1.0f, 0.3f, -1.99f, 3e-5f}) {
    const float bf16_start = float_from_bf16(bf16_from_float(start));
    TestLayer layer({{"w", {kCount}}}, GetParam());
    layer.set_masters(std::vector<float>(kCount, bf16_start));
    layer.set_gradients(std::vector<float>(kCount, 0.0f));
    ASSERT_TRUE(adamw_update(layer.view(), layer.gradient_view(), step_of(kSeed), team));
    Mean mean;
    for (const float master : layer.masters()) mean.add(master);
    const float expected = bf16_start * static_cast<float>(1 - 1e-3 * 0.7);
    EXPECT_NEAR(mean.value(), expected, mean.four_sigma(bf16_step(expected))) << "seed " << kSeed;
    EXPECT_NE(mean.value(), bf16_start);
  }
}

TEST(StochasticRounding, SecondMomentsOfCompactAreUnbiased) {
  WorkerTeam team(2);
  for (const float start : {1.0f, 0.37f, 1.6e-9f}) {
    TestLayer layer({{"w", {kCount}}}, StateFormat::kCompact);
    layer.set_masters(std::vector<float>(kCount, 0.0f));
    layer.set_gradients(std::vector<float>(kCount, 0.0f));
    bf16_bits* const v = state_planes(layer.view()).v16;
    std::fill_n(v, kCount, bf16_from_float(start));
    AdamWStep step = step_of(kSeed);
    step.beta2 = 0.999;
    ASSERT_TRUE(adamw_update(layer.view(), layer.gradient_view(), step, team));
    Mean mean;
    for (int64_t i = 0; i < kCount; ++i) mean.add(float_from_bf16(v[i]));
    const float expected = float_from_bf16(bf16_from_float(start)) * 0.999f;
    EXPECT_NEAR(mean.value() / expected, 1.0, mean.four_sigma(bf16_step(expected)) / expected) << "seed " << kSeed;
  }
}

// One element in each block sets the scales; the others have one value, over the whole range of the codes.
TEST(StochasticRounding, MomentsOfCompact8AreUnbiasedInTheValue) {
  WorkerTeam team(2);
  for (const float share : {0.99f, 0.6f, 0.31f, 0.1f, 0.017f, 3.3e-3f, 1.1e-3f, 3e-4f}) {
    TestLayer layer({{"w", {kCount}}}, StateFormat::kCompact8);
    layer.set_masters(std::vector<float>(kCount, 0.0f));
    std::vector<float> gradients(kCount, float_from_bf16(bf16_from_float(-share)));
    for (size_t i = 5; i < gradients.size(); i += 128) gradients[i] = 1.0f;
    layer.set_gradients(gradients);
    const AdamWStep step = step_of(kSeed);
    ASSERT_TRUE(adamw_update(layer.view(), layer.gradient_view(), step, team));

    const StatePlanes planes = state_planes(layer.view());
    const double m_scale = planes.scales[0].m;
    const double v_scale = planes.scales[0].v;
    const ReferenceCode m_code = ReferenceCode::of_m();
    const ReferenceCode v_code = ReferenceCode::of_v();
    Mean m_mean;
    Mean v_mean;
    for (uint64_t i = 0; i < kCount; ++i) {
      if (i % 128 == 5) continue;
      const int code = planes.moments[i];
      m_mean.add(m_code.decode(code % 128) * m_scale * (code % 256 >= 128 ? -1 : 1));
      v_mean.add(v_code.decode(code / 256) * v_scale);
    }
    const double g = gradients[0];
    const double m = 0.1 * g;
    const double v = 0.05 * g * g;
    // The distance of the codes around a value: those of a line that starts at `offset`.
    const auto step_at = [](double value, double scale, double offset) {
      return scale * std::exp2(std::floor(std::log2(value / scale + offset)) - 4);
    };
    const double m_step = step_at(std::abs(m), m_scale, m_code.offset);
    const double v_step = step_at(v, v_scale, v_code.offset);
    const double v_floor = v_scale / 8;
    // Eight random bits, rounded: 1/512 of a step. Nineteen for v. fp32 arithmetic before: 1e-6.
    EXPECT_NEAR(m_mean.value(), m, m_step / 512 + m_mean.four_sigma(m_step) + 1e-6 * std::abs(m)) << "share " << share;
    EXPECT_NEAR(v_mean.value(), std::max(v, v_floor), v_mean.four_sigma(v_step) + 1e-6 * v) << "share " << share;
  }
}

// Decay under beta2 = 0.999 moves v by a fortieth of a code's step. To nearest it would stay for ever.
TEST(StochasticRounding, SecondMomentsOfCompact8DecayAsTheyShould) {
  WorkerTeam team(2);
  TestLayer layer({{"w", {kCount / 16}}}, StateFormat::kCompact8);
  layer.set_masters(std::vector<float>(kCount / 16, 0.0f));
  layer.set_gradients(std::vector<float>(kCount / 16, 1.0f));
  AdamWStep step = step_of(kSeed);
  step.beta2 = 0.999;
  ASSERT_TRUE(adamw_update(layer.view(), layer.gradient_view(), step, team));
  layer.set_gradients(std::vector<float>(kCount / 16, 0.0f));
  double expected = 1e-3;
  for (step.update_count = 2; step.update_count <= 700; ++step.update_count) {
    ASSERT_TRUE(adamw_update(layer.view(), layer.gradient_view(), step, team));
    expected *= 0.999;
  }
  const StatePlanes planes = state_planes(layer.view());
  Mean mean;
  for (uint64_t i = 0; i < kCount / 16; ++i) {
    mean.add(ReferenceCode::of_v().decode(planes.moments[i] / 256) * static_cast<double>(planes.scales[i / 128].v));
  }
  EXPECT_NEAR(mean.value() / expected, 1.0, 0.02) << "seed " << kSeed;  // a spread of 0.4 over 16,384 elements: 4 sigma
}

// A v of zero beside an m that is not would make steps of m / eps.
TEST(StochasticRounding, SmallSecondMomentsOfCompact8DoNotVanish) {
  WorkerTeam team(1);
  TestLayer layer({{"w", {128}}}, StateFormat::kCompact8);
  layer.set_masters(std::vector<float>(128, 0.0f));
  for (int64_t update = 1; update <= 200; ++update) {
    std::vector<float> gradients(128, 1e-6f);
    gradients[7] = 1.0f;
    layer.set_gradients(gradients);
    AdamWStep step = step_of(kSeed);
    step.update_count = update;
    const std::vector<float> before = layer.masters();
    ASSERT_TRUE(adamw_update(layer.view(), layer.gradient_view(), step, team));
    const std::vector<float> after = layer.masters();
    for (size_t i = 0; i < 128; ++i) {
      ASSERT_LE(std::abs(after[i] - before[i]), 4 * step.learning_rate) << i << " in update " << update;
    }
  }
}

// A badly scaled quadratic bowl with its exact gradient, from zero. What is measured is the distance between the ends
// of two runs over the distance gone.
TEST_P(RoundedFormats, FollowsFp32DownAQuadraticBowl) {
  constexpr int64_t kSize = 2000;
  const std::vector<float> target = random_values(kSeed, 0, kSize, 1.0);
  const CounterRandom random(kSeed, 1);
  const auto run = [&](StateFormat format) {
    TestLayer layer({{"w", {kSize}}}, format, DType::kFloat32);
    layer.set_masters(std::vector<float>(kSize, 0.0f));
    WorkerTeam team(1);
    for (int64_t update = 1; update <= 400; ++update) {
      std::vector<float> gradients = layer.masters();
      for (size_t i = 0; i < kSize; ++i)
        gradients[i] = (gradients[i] - target[i]) * std::exp2(8 * random.uniform(i) - 4);
      layer.set_gradients(gradients);
      const AdamWStep step{
          .learning_rate = 0.01 * (1 - static_cast<double>(update) / 401), .update_count = update, .seed = kSeed};
      EXPECT_TRUE(adamw_update(layer.view(), layer.gradient_view(), step, team));
    }
    return layer.masters();
  };
  const std::vector<float> expected = run(StateFormat::kFloat32);
  const std::vector<float> actual = run(GetParam());
  double apart = 0;
  double gone = 0;
  for (size_t i = 0; i < kSize; ++i) {
    apart += std::pow(actual[i] - expected[i], 2);
    gone += std::pow(expected[i], 2);
  }
  EXPECT_LE(std::sqrt(apart / gone), 0.01) << "seed " << kSeed;
}

}  // namespace
}  // namespace penstock
