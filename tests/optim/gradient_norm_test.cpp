// Norms against long double, and what may not change them.
#include <gtest/gtest.h>

#include <limits>

#include "layer_state.h"

namespace penstock {
namespace {

constexpr uint64_t kSeed = 99;

class NormFormats : public testing::TestWithParam<StateFormat> {};

INSTANTIATE_TEST_SUITE_P(Formats, NormFormats, testing::Values(StateFormat::kExact, StateFormat::kFloat32),
                         [](const auto& suite) { return std::string(state_format_name(suite.param)); });

TEST_P(NormFormats, AgreesWithLongDouble) {
  WorkerTeam team(2);
  for (const int64_t count : {1, 63, 64, 65, 130, 65536, 65537, 200000}) {
    TestLayer layer({{"a", {count}}, {"b", {9}}}, GetParam());
    const std::vector<float> gradients = random_values(kSeed, 0, layer.layout.parameter_count(), 4.0);
    layer.set_gradients(gradients);  // the padding holds NaN
    long double expected = 0;
    for (const float g : gradients) expected += static_cast<long double>(g) * g;
    const GradientNorm norm = gradient_norm(layer.gradient_view(), team);
    EXPECT_TRUE(norm.finite);
    // bf16: four squares at a time are summed in fp32.
    const double tolerance = GetParam() == StateFormat::kExact ? 2e-7 : 1e-13;
    EXPECT_NEAR(norm.sum_of_squares / static_cast<double>(expected), 1.0, tolerance) << count << ", seed " << kSeed;
  }
}

TEST_P(NormFormats, ThreadCountChangesNoBit) {
  TestLayer layer({{"a", {400000}}, {"b", {70001}}}, GetParam());
  layer.set_gradients(random_values(kSeed, 1, layer.layout.parameter_count(), 4.0));
  WorkerTeam one(1);
  const double expected = gradient_norm(layer.gradient_view(), one).sum_of_squares;
  for (const int threads : {2, 3, 7}) {
    WorkerTeam team(threads);
    EXPECT_EQ(gradient_norm(layer.gradient_view(), team).sum_of_squares, expected) << threads << " threads";
  }
}

TEST_P(NormFormats, UntouchedRowsCountAsZeroAndAreNotRead) {
  constexpr int64_t kRows = 500;
  constexpr int64_t kWidth = 190;
  TestLayer layer({{"embed", {kRows, kWidth}}}, GetParam());
  std::vector<float> gradients = random_values(kSeed, 2, kRows * kWidth, 1.0);
  std::vector<uint8_t> touched(kRows);
  for (size_t row = 0; row < touched.size(); ++row) touched[row] = row % 3 == 1 || (row > 100 && row < 140);
  for (size_t i = 0; i < gradients.size(); ++i) {
    if (!touched[i / kWidth]) gradients[i] = 0;
  }
  layer.set_gradients(gradients);
  WorkerTeam team(2);
  const double expected = gradient_norm(layer.gradient_view(), team).sum_of_squares;
  for (size_t i = 0; i < gradients.size(); ++i) {
    if (!touched[i / kWidth]) gradients[i] = std::numeric_limits<float>::quiet_NaN();
  }
  layer.set_gradients(gradients);
  const GradientNorm norm = gradient_norm(layer.gradient_view(touched), team);
  EXPECT_TRUE(norm.finite);
  EXPECT_EQ(norm.sum_of_squares, expected);
  EXPECT_FALSE(gradient_norm(layer.gradient_view(), team).finite);
}

TEST_P(NormFormats, ReportsInfinityAndNan) {
  WorkerTeam team(2);
  const float bad[] = {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                       std::numeric_limits<float>::quiet_NaN()};
  for (const float value : bad) {
    for (const size_t position : {0u, 64u, 65536u, 70006u, 70008u}) {
      TestLayer layer({{"a", {70007}}, {"b", {2}}}, GetParam());
      std::vector<float> gradients(70009, 1.0f);
      gradients[position] = value;
      layer.set_gradients(gradients);
      EXPECT_FALSE(gradient_norm(layer.gradient_view(), team).finite) << value << " at " << position;
    }
  }
}

TEST_P(NormFormats, RemembersInfinityBehindUntouchedRows) {
  TestLayer layer({{"embed", {4, 10}}}, GetParam());
  std::vector<float> gradients(40, 1.0f);
  gradients[5] = std::numeric_limits<float>::infinity();
  layer.set_gradients(gradients);
  WorkerTeam team(1);
  const std::vector<uint8_t> with_it = {1, 0, 1, 0};
  const std::vector<uint8_t> without_it = {0, 0, 1, 0};
  EXPECT_FALSE(gradient_norm(layer.gradient_view(with_it), team).finite);
  EXPECT_TRUE(gradient_norm(layer.gradient_view(without_it), team).finite);
}

// Squares that no fp32 holds.
TEST_P(NormFormats, GradientsOfAnyMagnitudeNeitherOverflowNorVanish) {
  WorkerTeam team(1);
  for (const float size :
       {0x1.fep127f, 0x1p64f, 0x1p60f, 0x1.8p59f, 1e-10f, 1e-21f, 0x1p-50f, 0x1.8p-51f, 1e-30f, 0x1p-126f}) {
    TestLayer layer({{"a", {1000}}}, GetParam());
    layer.set_gradients(std::vector<float>(1000, size));
    const GradientNorm norm = gradient_norm(layer.gradient_view(), team);
    EXPECT_TRUE(norm.finite);
    const double value = float_from_bf16(bf16_from_float(size));
    const double expected = GetParam() == StateFormat::kExact ? value : static_cast<double>(size);
    EXPECT_NEAR(norm.sum_of_squares / (1000.0 * expected * expected), 1.0, 1e-12) << size;
  }
}

TEST(ClipFactor, FollowsClipGradNorm) {
  EXPECT_EQ(clip_factor(0.5, 1.0), 1.0f);
  EXPECT_EQ(clip_factor(0.0, 1.0), 1.0f);
  EXPECT_FLOAT_EQ(clip_factor(4.0, 1.0), static_cast<float>(1.0 / 4.000001));
  EXPECT_NEAR(clip_factor(3.0, 1.5), 0.5, 1e-6);
  EXPECT_EQ(clip_factor(1.0, 1.0), static_cast<float>(1.0 / (1.0 + 1e-6)));
  EXPECT_EQ(clip_factor(1e9, 0.0), 1.0f);  // clipping off
  EXPECT_EQ(clip_factor(std::numeric_limits<double>::infinity(), 1.0), 0.0f);
  EXPECT_TRUE(std::isnan(clip_factor(std::numeric_limits<double>::quiet_NaN(), 1.0)));
}

}  // namespace
}  // namespace penstock
