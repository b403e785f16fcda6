// Masters go into the planes and come back with every bit, and lie where the layout says.
#include <gtest/gtest.h>

#include "layer_state.h"
#include "optim/cast_kernels.h"

namespace penstock {
namespace {

std::vector<float> odd_patterns() {
  std::vector<float> values;
  for (const uint32_t bits :
       {0x00000000u, 0x80000000u, 0x00000001u, 0x007fffffu, 0x3f7fffffu, 0x3f808000u, 0x3f807fffu, 0x3f818000u,
        0xbf808000u, 0x7f7fffffu, 0x7f800000u, 0xff800000u, 0x7fc00001u, 0x7fffffffu, 0xffffffffu, 0xffff8000u}) {
    values.push_back(std::bit_cast<float>(bits));
  }
  return values;
}

TEST(MasterWeights, RoundTripKeepsEveryBit) {
  const std::vector<float> odd = odd_patterns();
  const auto odd_count = static_cast<int64_t>(odd.size());
  for (const StateFormat format : {StateFormat::kExact, StateFormat::kFloat32}) {
    TestLayer layer({{"a", {odd_count}}, {"b", {3, 50}}}, format);
    std::vector<float> values = odd;
    const std::vector<float> rest = random_values(5, 0, 150, 1.0);
    values.insert(values.end(), rest.begin(), rest.end());
    layer.set_masters(values);
    EXPECT_EQ(first_difference(layer.masters(), values), -1) << state_format_name(format);
  }
}

// Patterns first, first + stride, ... below 2^32, through the planes of `exact` and through the casts.
void expect_patterns_come_back(uint64_t first, uint64_t stride) {
  constexpr size_t kChunk = 1 << 20;
  TestLayer layer({{"w", {kChunk}}}, StateFormat::kExact);
  const TensorPlace& place = layer.layout.tensors()[0];
  std::vector<float> values(kChunk), back(kChunk);
  std::vector<bf16_bits> narrow(kChunk);
  for (uint64_t pattern = first; pattern < uint64_t{1} << 32;) {
    for (float& value : values) {
      value = std::bit_cast<float>(static_cast<uint32_t>(pattern));
      pattern += stride;
    }
    write_master(layer.view(), place, values);
    read_master(layer.view(), place, back);
    ASSERT_EQ(first_difference(values, back), -1) << "in the chunk before " << pattern;
    cast_to_bfloat16(values, narrow);
    for (size_t i = 0; i < kChunk; ++i) ASSERT_EQ(narrow[i], bf16_from_float(values[i])) << std::hex << values[i];
  }
}

TEST(MasterWeights, SampledPatternsComeBack) { expect_patterns_come_back(3, 1021); }

// All 2^32, in about half a minute: run it with --gtest_also_run_disabled_tests.
TEST(MasterWeights, DISABLED_EveryPatternComesBack) { expect_patterns_come_back(0, 1); }

// A bf16 master: to nearest even, NaN kept, as bf16_from_float has it. No moments.
TEST(MasterWeights, CompactFormatsRoundToNearestEven) {
  const std::vector<float> odd = odd_patterns();
  for (const StateFormat format : {StateFormat::kCompact, StateFormat::kCompact8}) {
    TestLayer layer({{"a", {static_cast<int64_t>(odd.size())}}}, format);
    layer.set_masters(odd);
    const std::vector<float> masters = layer.masters();
    for (size_t i = 0; i < odd.size(); ++i) {
      EXPECT_EQ(layer.wire.as<bf16_bits>()[i], bf16_from_float(odd[i]));
      EXPECT_EQ(std::bit_cast<uint32_t>(masters[i]), uint32_t{bf16_from_float(odd[i])} << 16);
    }
    for (size_t i = 0; i < odd.size(); ++i) {
      EXPECT_EQ(layer.state.as<uint16_t>()[i], 0) << "m of compact, m and v of compact8";
    }
  }
}

// Scales of whole blocks go, and of blocks none of whose codes is left, in whatever order they were cleared.
TEST(MasterWeights, ClearedBlocksOfCompact8LoseTheirScale) {
  TestLayer layer({{"a", {300}}, {"b", {10}}}, StateFormat::kCompact8);
  layer.set_masters(std::vector<float>(310, 1.0f));
  layer.set_gradients(std::vector<float>(310, 1.0f));
  WorkerTeam team(1);
  ASSERT_TRUE(adamw_update(layer.view(), layer.gradient_view(), {.learning_rate = 0.1}, team));
  const MomentScales* scales = state_planes(layer.view()).scales;
  for (const uint64_t block : {0, 1, 2, 3}) EXPECT_GT(scales[block].v, 0.0f);
  clear_moments(layer.view(), 100, 100);  // ends of blocks 0 and 1
  EXPECT_GT(scales[0].v, 0.0f);
  EXPECT_GT(scales[1].v, 0.0f);
  clear_moments(layer.view(), 0, 100);
  EXPECT_EQ(scales[0].v, 0.0f);
  EXPECT_EQ(scales[0].m, 0.0f);
  EXPECT_GT(scales[1].v, 0.0f);
  clear_moments(layer.view(), 256, 44);  // the tensor's short last block
  EXPECT_EQ(scales[2].v, 0.0f);
  EXPECT_GT(scales[3].v, 0.0f);
}

TEST(MasterWeights, ExactKeepsTheHighHalfOnTheWire) {
  TestLayer layer({{"a", {3}}, {"b", {2}}}, StateFormat::kExact);
  layer.set_masters(std::vector<float>{1.0f, -2.5f, 3.14159265f, 0.1f, -0.2f});
  const uint64_t b = layer.layout.tensor("b").offset;
  EXPECT_EQ(layer.wire.as<uint16_t>()[0], 0x3f80);
  EXPECT_EQ(layer.wire.as<uint16_t>()[1], 0xc020);
  EXPECT_EQ(layer.wire.as<uint16_t>()[2], 0x4049);
  EXPECT_EQ(layer.state.as<uint16_t>()[2], 0x0fdb);
  EXPECT_EQ(layer.wire.as<uint16_t>()[b], 0x3dcd);  // 0x3dcccccd rounds up
  EXPECT_EQ(layer.state.as<uint16_t>()[b], 0xcccd);
}

TEST(MasterWeights, WritingClearsTheMomentsOfThatTensorOnly) {
  TestLayer layer({{"a", {4}}, {"b", {4}}}, StateFormat::kFloat32);
  layer.set_masters(std::vector<float>(8, 1.0f));
  layer.set_gradients(std::vector<float>(8, 1.0f));
  WorkerTeam team(1);
  ASSERT_TRUE(adamw_update(layer.view(), layer.gradient_view(), {.learning_rate = 0.1}, team));
  const TensorPlace& b = layer.layout.tensor("b");
  write_master(layer.view(), b, std::vector<float>(4, 2.0f));
  const float* m = layer.state.as<float>();
  const float* v = m + layer.layout.slab_elements();
  for (uint64_t i = 0; i < 4; ++i) {
    EXPECT_FLOAT_EQ(m[i], 0.1f);
    EXPECT_FLOAT_EQ(v[i], 0.05f);
    EXPECT_EQ(m[b.offset + i], 0.0f);
    EXPECT_EQ(v[b.offset + i], 0.0f);
  }
}

TEST(MasterWeights, PartsEqualTheWhole) {
  const std::vector<float> values = random_values(9, 0, 37, 1.0);
  for (const StateFormat format : {StateFormat::kExact, StateFormat::kFloat32}) {
    TestLayer layer({{"a", {5}}, {"b", {32}}}, format);
    layer.set_masters(std::vector<float>(37, 3.0f));
    const TensorPlace& b = layer.layout.tensor("b");
    const std::span<const float> part = std::span(values).subspan(5);
    write_master(layer.view(), b, 0, part.first(7));
    write_master(layer.view(), b, 7, part.subspan(7));
    std::vector<float> expected(5, 3.0f);
    expected.insert(expected.end(), part.begin(), part.end());
    EXPECT_EQ(first_difference(layer.masters(), expected), -1) << state_format_name(format);
    EXPECT_DEATH(write_master(layer.view(), b, 30, part.first(3)), "");
  }
}

}  // namespace
}  // namespace penstock
