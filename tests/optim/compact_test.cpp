// `compact` and `compact8` over a layer against the same formats written plainly, bit for bit.
#include <gtest/gtest.h>

#include "compact_reference.h"
#include "layer_state.h"

namespace penstock {
namespace {

constexpr uint64_t kSeed = 31415;

AdamWStep step_of(int64_t update_count) {
  return {.learning_rate = 1e-2 + 1e-4 * static_cast<double>(update_count % 7),
          .weight_decay = 0.1,
          .update_count = update_count,
          .gradient_scale = update_count % 3 == 0 ? 0.37f : 1.0f,
          .seed = 0x0123456789abcdefu,
          .layer = 7};
}

struct Setting {
  StateFormat format;
  DType gradient;
};

class CompactFormats : public testing::TestWithParam<Setting> {
 protected:
  TestLayer make_layer(std::vector<TensorSpec> tensors) const {
    return {std::move(tensors), GetParam().format, GetParam().gradient};
  }
  // bf16 values, or such as need all bits of an fp32.
  std::vector<float> gradients(uint64_t stream, size_t count, double scale) const {
    std::vector<float> values = random_values(kSeed, stream, count, scale);
    if (GetParam().gradient == DType::kFloat32) {
      for (float& value : values) value *= 1.0f + 1e-3f;
    }
    return values;
  }
};

INSTANTIATE_TEST_SUITE_P(Formats, CompactFormats,
                         testing::Values(Setting{StateFormat::kCompact, DType::kBFloat16},
                                         Setting{StateFormat::kCompact, DType::kFloat32},
                                         Setting{StateFormat::kCompact8, DType::kBFloat16},
                                         Setting{StateFormat::kCompact8, DType::kFloat32}),
                         [](const auto& suite) {
                           return std::string(state_format_name(suite.param.format)) + "_" +
                                  std::string(dtype_name(suite.param.gradient));
                         });

TEST_P(CompactFormats, EqualThePlainLoopOverManyUpdates) {
  const std::vector<TensorSpec> tensors = {{"proj.weight", {10, 310}}, {"norm.weight", {130}, false}, {"tail", {1}}};
  TestLayer layer = make_layer(tensors);
  TestLayer expected = make_layer(tensors);
  const size_t count = layer.layout.parameter_count();
  layer.set_masters(random_values(kSeed, 0, count, 0.5));
  expected.set_masters(random_values(kSeed, 0, count, 0.5));
  WorkerTeam team(2);
  for (int64_t update = 1; update <= 200; ++update) {
    std::vector<float> values = gradients(static_cast<uint64_t>(update), count, 2.0);
    for (size_t i = 0; i < count; ++i) values[i] *= std::exp2(-static_cast<float>(i % 23));  // wide blocks
    if (update % 5 == 0) std::fill_n(values.begin(), 500, 0.0f);
    if (GetParam().gradient == DType::kBFloat16) {
      for (float& value : values) value = float_from_bf16(bf16_from_float(value));
    }
    layer.set_gradients(values);
    ASSERT_TRUE(adamw_update(layer.view(), layer.gradient_view(), step_of(update), team));
    reference_update(expected.view(), values, step_of(update));
    ASSERT_TRUE(layer.bytes() == expected.bytes()) << "update " << update << ", seed " << kSeed;
  }
}

TEST_P(CompactFormats, TailsOfEveryLengthAndBlockBorders) {
  std::vector<int64_t> counts = {65535, 65536, 65537, 131075};
  for (int64_t count = 1; count <= 130; ++count) counts.push_back(count);
  WorkerTeam team(3);
  for (const int64_t count : counts) {
    SCOPED_TRACE(testing::Message() << "seed " << kSeed << ", " << count << " elements");
    const std::vector<TensorSpec> tensors = {{"before", {3}}, {"w", {count}}, {"after", {5}, false}};
    TestLayer layer = make_layer(tensors);
    TestLayer expected = make_layer(tensors);
    const size_t parameters = layer.layout.parameter_count();
    layer.set_masters(random_values(kSeed, 0, parameters, 1.0));
    expected.set_masters(random_values(kSeed, 0, parameters, 1.0));
    for (int64_t update = 1; update <= 2; ++update) {
      const std::vector<float> values = gradients(static_cast<uint64_t>(update), parameters, 1.0);
      layer.set_gradients(values);
      ASSERT_TRUE(adamw_update(layer.view(), layer.gradient_view(), step_of(update), team));
      reference_update(expected.view(), values, step_of(update));
    }
    ASSERT_TRUE(layer.bytes() == expected.bytes());
  }
}

// Its square is no fp32 any more. The master does not move then, and nobody would notice.
TEST(Compact8, ReportsAnOverflowOfTheSecondMoment) {
  WorkerTeam team(1);
  for (const float size : {1e19f, 1e22f}) {
    TestLayer layer({{"w", {200}}}, StateFormat::kCompact8);
    layer.set_masters(std::vector<float>(200, 1.0f));
    std::vector<float> gradients(200, 1.0f);
    gradients[150] = size;
    layer.set_gradients(gradients);
    EXPECT_EQ(adamw_update(layer.view(), layer.gradient_view(), step_of(1), team), size < 1e20f);
  }
}

// With both betas zero an update's arithmetic does not depend on its number, so that only the random bits differ.
TEST_P(CompactFormats, LayerUpdateAndSeedChooseTheRounding) {
  const AdamWStep first = {.learning_rate = 1e-4, .beta1 = 0, .beta2 = 0, .update_count = 5, .seed = 11, .layer = 3};
  WorkerTeam team(2);
  const auto updated = [&](const AdamWStep& step) {
    TestLayer layer = make_layer({{"w", {1000}}});
    layer.set_masters(random_values(kSeed, 0, 1000, 1.0));
    layer.set_gradients(random_values(kSeed, 1, 1000, 1.0));
    EXPECT_TRUE(adamw_update(layer.view(), layer.gradient_view(), step, team));
    return layer.masters();
  };
  const std::vector<float> masters = updated(first);
  EXPECT_EQ(updated(first), masters);
  AdamWStep other_layer = first, other_update = first, other_seed = first, other_upper_seed = first;
  other_layer.layer += 1;
  other_update.update_count += 1;
  other_seed.seed += 1;
  other_upper_seed.seed += uint64_t{1} << 32;
  EXPECT_NE(updated(other_layer), masters);
  EXPECT_NE(updated(other_update), masters);
  EXPECT_NE(updated(other_seed), masters);
  EXPECT_NE(updated(other_upper_seed), masters);
}

}  // namespace
}  // namespace penstock
