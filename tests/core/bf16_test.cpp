#include "core/bf16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/random.h"

namespace penstock {
namespace {

constexpr uint64_t kSeed = 20240611;

// Low halves around every decision of both roundings: zero, below, on and above the tie, all ones.
constexpr uint32_t kLowHalves[] = {0, 1, 0x7ffe, 0x7fff, 0x8000, 0x8001, 0xfffe, 0xffff};

std::vector<uint32_t> special_patterns() {
  std::vector<uint32_t> patterns;
  for (uint32_t high = 0; high < 0x10000; ++high) {
    for (const uint32_t low : kLowHalves) patterns.push_back(high << 16 | low);
  }
  return patterns;
}

// The value a magnitude pattern would have if the exponent had no limit: infinity stands for 2^128.
double magnitude(uint32_t bits) { return bits == 0x7f800000u ? 0x1p128 : std::bit_cast<float>(bits); }

// To nearest even by comparing distances in double, which holds both exactly.
bf16_bits slow_round(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = bits & 0x80000000u;
  const uint32_t below = bits & 0x7fff0000u;
  const double exact = std::fabs(static_cast<double>(value));
  if (std::isinf(value) || magnitude(below) == exact) return static_cast<bf16_bits>((sign | below) >> 16);
  const uint32_t above = below + 0x10000u;
  const double down = exact - magnitude(below);
  const double up = magnitude(above) - exact;
  const bool below_is_even = (below >> 16) % 2 == 0;
  const uint32_t nearest = down < up || (down == up && below_is_even) ? below : above;
  return static_cast<bf16_bits>((sign | nearest) >> 16);
}

bool rounds_like_reference(uint32_t bits) {
  const float value = std::bit_cast<float>(bits);
  if (std::isnan(value)) return std::isnan(float_from_bf16(bf16_from_float(value)));
  return bf16_from_float(value) == slow_round(value);
}

bool split_is_lossless(uint32_t bits) {
  const MasterHalves halves = split_master(std::bit_cast<float>(bits));
  return std::bit_cast<uint32_t>(join_master(halves.hi, halves.lo)) == bits;
}

// Every special pattern, then `samples` random ones.
void expect_for_patterns(bool (*holds)(uint32_t bits), uint64_t stream, uint64_t samples) {
  for (const uint32_t bits : special_patterns()) ASSERT_TRUE(holds(bits)) << std::hex << bits;
  const CounterRandom random(kSeed, stream);
  for (uint64_t i = 0; i < samples; ++i) {
    ASSERT_TRUE(holds(random.bits32(i))) << std::hex << random.bits32(i) << ", seed " << std::dec << kSeed;
  }
}

TEST(Bf16, EveryPatternComesBack) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = float_from_bf16(static_cast<bf16_bits>(bits));
    const bf16_bits quiet = std::isnan(value) ? 0x0040 : 0;
    ASSERT_EQ(bf16_from_float(value), bits | quiet) << std::hex << bits;
  }
}

TEST(Bf16, RoundsToNearestEven) { expect_for_patterns(rounds_like_reference, 0, 2'000'000); }

TEST(Bf16, SplitMasterIsLossless) { expect_for_patterns(split_is_lossless, 1, 4'000'000); }

// The high half is the weight that streams: at most half a step away, and away from zero on a tie.
TEST(Bf16, HighHalfIsTheNearestWeight) {
  const CounterRandom random(kSeed, 2);
  for (uint64_t i = 0; i < 1'000'000; ++i) {
    const uint32_t bits = random.bits32(i) & 0xbfffffffu;  // exponents far from infinity
    const float master = std::bit_cast<float>(bits);
    const float wire = float_from_bf16(split_master(master).hi);
    const double distance = std::fabs(static_cast<double>(master) - wire);
    const double other = std::fabs(static_cast<double>(master) - float_from_bf16(bf16_from_float(master)));
    ASSERT_EQ(distance, other) << std::hex << bits;
  }
  EXPECT_EQ(split_master(std::bit_cast<float>(0x3f808000u)).hi, 0x3f81);
  EXPECT_EQ(split_master(std::bit_cast<float>(0xbf808000u)).hi, 0xbf81);
}

}  // namespace
}  // namespace penstock
