#include "core/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace penstock {
namespace {

constexpr uint64_t kSeed = 977;
constexpr uint64_t kSamples = 1'000'000;

using Words = std::array<uint32_t, 4>;

// The philox4x32-10 lines of Random123's kat_vectors.
TEST(Random, PhiloxKnownAnswers) {
  EXPECT_EQ(philox4x32(0, 0, 0), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32(UINT64_MAX, UINT64_MAX, UINT64_MAX), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32(0x299f31d0a4093822, 0x85a308d3243f6a88, 0x0370734413198a2e),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

// Its philox4x32-7 lines.
TEST(Random, PhiloxKnownAnswersOfSevenRounds) {
  EXPECT_EQ(philox4x32(0, 0, 0, 7), (Words{0x5f6fb709, 0x0d893f64, 0x4f121f81, 0x4f730a48}));
  EXPECT_EQ(philox4x32(UINT64_MAX, UINT64_MAX, UINT64_MAX, 7),
            (Words{0x5207ddc2, 0x45165e59, 0x4d8ee751, 0x8c52f662}));
  EXPECT_EQ(philox4x32(0x299f31d0a4093822, 0x85a308d3243f6a88, 0x0370734413198a2e, 7),
            (Words{0x4dfccaba, 0x190a87f0, 0xc47362ba, 0xb6b5242a}));
}

TEST(Random, DrawsAreThePhiloxWordsInOrder) {
  const CounterRandom random(kSeed, 5);
  const Words block = philox4x32(kSeed, 7, 5);
  for (uint64_t word = 0; word < 4; ++word) EXPECT_EQ(random.bits32(4 * 7 + word), block[word]);
  EXPECT_EQ(random.bits64(14), static_cast<uint64_t>(block[1]) << 32 | block[0]);
  EXPECT_EQ(random.bits64(15), static_cast<uint64_t>(block[3]) << 32 | block[2]);
}

TEST(Random, SeedAndStreamMatter) {
  EXPECT_NE(CounterRandom(1, 0).bits64(0), CounterRandom(2, 0).bits64(0));
  EXPECT_NE(CounterRandom(1, 0).bits64(0), CounterRandom(1, 1).bits64(0));
}

TEST(Random, UniformStaysInRangeAndIsFlat) {
  const CounterRandom random(kSeed, 0);
  double sum = 0;
  double sum_double = 0;
  float smallest = 1;
  float largest = 0;
  for (uint64_t i = 0; i < kSamples; ++i) {
    const float value = random.uniform(i);
    const double value_double = random.uniform_double(i);
    ASSERT_TRUE(value >= 0 && value < 1) << "seed " << kSeed << " index " << i;
    ASSERT_TRUE(value_double >= 0 && value_double < 1) << "seed " << kSeed << " index " << i;
    sum += value;
    sum_double += value_double;
    smallest = std::min(smallest, value);
    largest = std::max(largest, value);
  }
  // Five standard errors of the mean: 5 * sqrt(1/12) / 1000.
  EXPECT_NEAR(sum / kSamples, 0.5, 1.5e-3) << "seed " << kSeed;
  EXPECT_NEAR(sum_double / kSamples, 0.5, 1.5e-3) << "seed " << kSeed;
  EXPECT_LT(smallest, 1e-4f);
  EXPECT_GT(largest, 1 - 1e-4f);
}

TEST(Random, NormalHasTheMomentsOfANormal) {
  const CounterRandom random(kSeed, 3);
  double moments[5] = {};
  double neighbours = 0;  // cosine and sine of one block must not be correlated
  for (uint64_t i = 0; i < kSamples; ++i) {
    const double value = random.normal(i);
    ASSERT_TRUE(std::isfinite(value)) << "seed " << kSeed << " index " << i;
    double power = 1;
    for (double& moment : moments) {
      moment += power / kSamples;
      power *= value;
    }
    if (i % 2 == 0) neighbours += value * random.normal(i + 1) / (kSamples / 2);
  }
  // Five standard errors: sqrt of the moments' variances 1, 2, 15, 96 over a million samples.
  EXPECT_NEAR(moments[1], 0.0, 0.005) << "seed " << kSeed;
  EXPECT_NEAR(moments[2], 1.0, 0.0071) << "seed " << kSeed;
  EXPECT_NEAR(moments[3], 0.0, 0.0194) << "seed " << kSeed;
  EXPECT_NEAR(moments[4], 3.0, 0.049) << "seed " << kSeed;
  EXPECT_NEAR(neighbours, 0.0, 0.0071) << "seed " << kSeed;
}

TEST(Random, BelowIsFlat) {
  const CounterRandom random(kSeed, 4);
  constexpr uint64_t kBound = 7;
  std::vector<double> counts(kBound, 0);
  for (uint64_t i = 0; i < kSamples; ++i) {
    const uint64_t value = random.below(i, kBound);
    ASSERT_LT(value, kBound) << "seed " << kSeed << " index " << i;
    ++counts[value];
  }
  double chi_square = 0;
  constexpr double kExpected = static_cast<double>(kSamples) / kBound;
  for (const double count : counts) chi_square += (count - kExpected) * (count - kExpected) / kExpected;
  EXPECT_LT(chi_square, 33.1) << "seed " << kSeed;  // 6 degrees of freedom, one in 100,000
  for (uint64_t i = 0; i < 100; ++i) EXPECT_EQ(random.below(i, 1), 0u);
}

TEST(Random, BelowReachesLargeBounds) {
  const CounterRandom random(kSeed, 6);
  uint64_t largest = 0;
  for (uint64_t i = 0; i < 1000; ++i) largest = std::max(largest, random.below(i, UINT64_MAX));
  EXPECT_GT(largest, UINT64_MAX / 2) << "seed " << kSeed;
}

}  // namespace
}  // namespace penstock
