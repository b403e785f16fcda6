// AdamW over a layer against the same formula written plainly, bit for bit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <thread>

#include "core/float_mode.h"
#include "layer_state.h"
#include "reference_adamw.h"

namespace penstock {
namespace {

constexpr uint64_t kSeed = 20240611;

std::vector<TensorSpec> mixed_tensors() {
  return {{"proj.weight", {10, 31}, true}, {"norm.weight", {130}, false}, {"bias", {7}, false}, {"tail", {1}, true}};
}

AdamWStep step_of(int64_t update_count) {
  return {.learning_rate = 1e-3 + 1e-5 * static_cast<double>(update_count % 7),
          .beta1 = 0.9,
          .beta2 = 0.95,
          .eps = 1e-8,
          .weight_decay = 0.1,
          .update_count = update_count,
          .gradient_scale = update_count % 3 == 0 ? 0.37f : 1.0f};
}

class AdamWFormats : public testing::TestWithParam<StateFormat> {};

INSTANTIATE_TEST_SUITE_P(Formats, AdamWFormats, testing::Values(StateFormat::kExact, StateFormat::kFloat32),
                         [](const auto& suite) { return std::string(state_format_name(suite.param)); });

// Both formats are fed the same bf16 gradients, so `exact` has to be fp32 AdamW itself.
TEST_P(AdamWFormats, EqualsPlainFp32AdamWOverThousandSteps) {
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  TestLayer layer(mixed_tensors(), GetParam());
  const size_t count = layer.layout.parameter_count();
  const std::vector<float> start = random_values(kSeed, 0, count, 0.5);
  layer.set_masters(start);
  ReferenceAdamW reference(start);
  WorkerTeam team(2);
  for (int64_t update = 1; update <= 1000; ++update) {
    const std::vector<float> gradients = random_values(kSeed, static_cast<uint64_t>(update), count, 2.0);
    layer.set_gradients(gradients);
    ASSERT_TRUE(adamw_update(layer.view(), layer.gradient_view(), step_of(update), team));
    reference.update_all(layer.layout, gradients, step_of(update));
    ASSERT_EQ(first_difference(layer.masters(), reference.master), -1) << "after update " << update;
  }
}

// A run's threads flush denormals, and so does the conversion of such an eps; beside it, eps * sqrt(1 - beta2) does.
TEST(AdamW, SmallEpsIsNotFlushedToZero) {
  std::thread flushing([] {
    set_flush_denormals();
    WorkerTeam team(1);
    for (const StateFormat format :
         {StateFormat::kExact, StateFormat::kFloat32, StateFormat::kCompact, StateFormat::kCompact8}) {
      for (const double eps : {3e-38, 1e-40, 1e-300}) {
        TestLayer layer({{"w", {300}, false}}, format);
        layer.set_masters(std::vector<float>(300, 1.0f));
        layer.set_gradients(std::vector<float>(300, 0.0f));
        AdamWStep step = step_of(1);
        step.eps = eps;
        EXPECT_TRUE(adamw_update(layer.view(), layer.gradient_view(), step, team));
        EXPECT_THAT(layer.masters(), testing::Each(1.0f)) << state_format_name(format) << ", eps " << eps;
      }
    }
  });
  flushing.join();
}

TEST(AdamW, WireWeightIsTheRoundedMaster) {
  TestLayer layer({{"w", {300}}}, StateFormat::kExact);
  layer.set_masters(random_values(kSeed, 1, 300, 1.0));
  layer.set_gradients(random_values(kSeed, 2, 300, 1.0));
  WorkerTeam team(1);
  for (int64_t update = 1; update <= 50; ++update) {
    ASSERT_TRUE(adamw_update(layer.view(), layer.gradient_view(), step_of(update), team));
    const std::vector<float> masters = layer.masters();
    for (size_t i = 0; i < masters.size(); ++i) {
      const float wire = float_from_bf16(layer.wire.as<bf16_bits>()[i]);
      ASSERT_LE(std::abs(wire - masters[i]), std::abs(masters[i]) / 256) << i;
    }
  }
}

TEST_P(AdamWFormats, BlockBordersAndTails) {
  for (const int64_t count : {1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129, 130, 65535, 65536, 65537, 131075}) {
    SCOPED_TRACE(testing::Message() << "seed " << kSeed << ", " << count << " elements");
    TestLayer layer({{"before", {3}}, {"w", {count}}, {"after", {5}}}, GetParam());
    const size_t parameters = layer.layout.parameter_count();
    const std::vector<float> start = random_values(kSeed, 3, parameters, 1.0);
    layer.set_masters(start);
    ReferenceAdamW reference(start);
    WorkerTeam team(3);
    for (int64_t update = 1; update <= 2; ++update) {
      const std::vector<float> gradients = random_values(kSeed, 3 + static_cast<uint64_t>(update), parameters, 1.0);
      layer.set_gradients(gradients);
      ASSERT_TRUE(adamw_update(layer.view(), layer.gradient_view(), step_of(update), team));
      reference.update_all(layer.layout, gradients, step_of(update));
    }
    EXPECT_EQ(first_difference(layer.masters(), reference.master), -1);
  }
}

TEST_P(AdamWFormats, ThreadCountChangesNoBit) {
  const std::vector<TensorSpec> tensors = {{"a", {1000, 300}}, {"b", {77}, false}, {"c", {65536}}};
  std::vector<std::byte> expected;
  for (const int threads : {1, 2, 3, 7}) {
    TestLayer layer(tensors, GetParam());
    layer.set_masters(random_values(kSeed, 4, layer.layout.parameter_count(), 1.0));
    WorkerTeam team(threads);
    for (int64_t update = 1; update <= 3; ++update) {
      layer.set_gradients(random_values(kSeed, 5 + static_cast<uint64_t>(update), layer.layout.parameter_count(), 1.0));
      ASSERT_TRUE(adamw_update(layer.view(), layer.gradient_view(), step_of(update), team));
    }
    if (threads == 1) expected = layer.bytes();
    EXPECT_TRUE(layer.bytes() == expected) << threads << " threads, seed " << kSeed;
  }
}

// Rows 0 of `touched_rows` hold NaN gradients here: reading one of them would poison the weights.
TEST_P(AdamWFormats, UntouchedRowsHaveGradientZeroAndAreNotRead) {
  constexpr int64_t kRows = 700;
  constexpr int64_t kWidth = 190;  // rows straddle block borders
  const CounterRandom random(kSeed, 6);
  std::vector<uint8_t> touched(kRows);
  for (size_t row = 0; row < touched.size(); ++row) {
    const bool in_long_gap = row >= 300 && row < 400;  // longer than the zero gradient's buffer
    touched[row] = !in_long_gap && random.uniform(row) < 0.5f;
  }
  TestLayer sparse({{"embed", {kRows, kWidth}}}, GetParam());
  TestLayer dense({{"embed", {kRows, kWidth}}}, GetParam());
  const size_t count = sparse.layout.parameter_count();
  sparse.set_masters(random_values(kSeed, 7, count, 1.0));
  dense.set_masters(random_values(kSeed, 7, count, 1.0));
  WorkerTeam team(2);
  for (int64_t update = 1; update <= 3; ++update) {
    std::vector<float> stale = random_values(kSeed, 8 + static_cast<uint64_t>(update), count, 1.0);
    std::vector<float> zeroed = stale;
    for (size_t i = 0; i < count; ++i) {
      if (touched[i / kWidth]) continue;
      stale[i] = std::numeric_limits<float>::quiet_NaN();
      zeroed[i] = 0;
    }
    sparse.set_gradients(stale);
    dense.set_gradients(zeroed);
    // The first update touches every row, so that later ones decay real moments.
    const std::span<const uint8_t> rows = update == 1 ? std::span<const uint8_t>{} : touched;
    if (update == 1) sparse.set_gradients(zeroed);
    ASSERT_TRUE(adamw_update(sparse.view(), sparse.gradient_view(rows), step_of(update), team));
    ASSERT_TRUE(adamw_update(dense.view(), dense.gradient_view(), step_of(update), team));
  }
  EXPECT_EQ(first_difference(sparse.masters(), dense.masters()), -1) << "seed " << kSeed;
  EXPECT_TRUE(std::ranges::equal(sparse.state.span(), dense.state.span()));
}

TEST_P(AdamWFormats, DecayFollowsTheTensorsGroup) {
  TestLayer layer({{"w", {2}, true}, {"norm", {2}, false}}, GetParam());
  layer.set_masters(std::vector<float>{1, -2, 1, -2});
  layer.set_gradients(std::vector<float>{0, 0, 0, 0});
  WorkerTeam team(1);
  const AdamWStep step{.learning_rate = 0.5, .weight_decay = 0.5};
  ASSERT_TRUE(adamw_update(layer.view(), layer.gradient_view(), step, team));
  EXPECT_THAT(layer.masters(), testing::ElementsAre(0.75f, -1.5f, 1.0f, -2.0f));
}

// With eps tiny, the first update moves every weight by the learning rate, whatever the gradient: bias correction.
TEST_P(AdamWFormats, FirstUpdateMovesByTheLearningRate) {
  TestLayer layer({{"w", {3}}}, GetParam());
  layer.set_masters(std::vector<float>{0, 0, 0});
  layer.set_gradients(std::vector<float>{4, -0.5, 0.001953125});
  WorkerTeam team(1);
  ASSERT_TRUE(adamw_update(layer.view(), layer.gradient_view(), {.learning_rate = 0.25, .eps = 1e-30}, team));
  const std::vector<float> masters = layer.masters();
  EXPECT_NEAR(masters[0], -0.25, 1e-6);
  EXPECT_NEAR(masters[1], 0.25, 1e-6);
  EXPECT_NEAR(masters[2], -0.25, 1e-6);
}

TEST_P(AdamWFormats, PaddingIsNeitherReadNorWritten) {
  TestLayer layer(mixed_tensors(), GetParam());
  const size_t count = layer.layout.parameter_count();
  layer.set_masters(random_values(kSeed, 12, count, 1.0));
  layer.set_gradients(random_values(kSeed, 13, count, 1.0));
  WorkerTeam team(2);
  ASSERT_TRUE(adamw_update(layer.view(), layer.gradient_view(), step_of(1), team));
  std::vector<bool> is_parameter(layer.layout.slab_elements(), false);
  for (const TensorPlace& tensor : layer.layout.tensors()) {
    for (uint64_t i = 0; i < tensor.element_count; ++i) is_parameter[tensor.offset + i] = true;
  }
  const uint64_t elements = layer.layout.slab_elements();
  const uint64_t wire_bytes = dtype_bytes(wire_dtype(GetParam()));
  const uint64_t first_float_plane = state_bytes(GetParam(), elements) - elements * 8;
  uint64_t padding_count = 0;
  for (uint64_t i = 0; i < elements; ++i) {
    if (is_parameter[i]) continue;
    ++padding_count;
    for (uint64_t b = 0; b < wire_bytes; ++b) ASSERT_EQ(layer.wire.span()[i * wire_bytes + b], kPaddingPattern) << i;
    for (uint64_t b = 0; b < 4; ++b) {
      ASSERT_EQ(layer.state.span()[first_float_plane + 4 * i + b], kPaddingPattern) << i;
      ASSERT_EQ(layer.state.span()[first_float_plane + 4 * (elements + i) + b], kPaddingPattern) << i;
    }
    if (GetParam() == StateFormat::kExact) {
      ASSERT_EQ(layer.state.as<uint16_t>()[i], 0xFFFF) << i;
    }
  }
  EXPECT_GT(padding_count, 0u);
}

// A master at the top of the range rounds to an infinite wire weight; the NaN 0x7fffffff has the wire weight -0.
TEST(AdamW, ReportsInfiniteOrNanWeights) {
  struct Case {
    uint32_t bits;
    bool exact_is_finite;
    bool float32_is_finite;
  };
  const Case cases[] = {{0x3f800000, true, true},   {0x7f800000, false, false}, {0xff800000, false, false},
                        {0x7fc00000, false, false}, {0x7fffffff, false, false}, {0x7f7fffff, false, true},
                        {0xff7f8000, false, true},  {0x7f7f7fff, true, true}};
  WorkerTeam team(1);
  for (const Case& c : cases) {
    for (const size_t position : {0u, 5u, 63u, 99u}) {
      for (const StateFormat format : {StateFormat::kExact, StateFormat::kFloat32}) {
        TestLayer layer({{"w", {100}}}, format);
        std::vector<float> masters(100, 1.0f);
        masters[position] = std::bit_cast<float>(c.bits);
        layer.set_masters(masters);
        layer.set_gradients(std::vector<float>(100, 0.0f));
        const bool expected = format == StateFormat::kExact ? c.exact_is_finite : c.float32_is_finite;
        EXPECT_EQ(adamw_update(layer.view(), layer.gradient_view(), {.learning_rate = 0}, team), expected)
            << std::hex << c.bits << " at " << position << ", " << state_format_name(format);
      }
    }
  }
}

TEST(AdamW, ReportsOverflowOfTheUpdateItself) {
  TestLayer layer({{"w", {70000}}}, StateFormat::kFloat32);
  layer.set_masters(std::vector<float>(70000, 1.0f));
  std::vector<float> gradients(70000, 0.5f);
  gradients[69999] = std::numeric_limits<float>::quiet_NaN();
  layer.set_gradients(gradients);
  WorkerTeam team(2);
  EXPECT_FALSE(adamw_update(layer.view(), layer.gradient_view(), step_of(1), team));
}

TEST_P(AdamWFormats, RemembersInfinityBehindUntouchedRows) {
  TestLayer layer({{"embed", {4, 10}}}, GetParam());
  layer.set_masters(std::vector<float>(40, 1.0f));
  std::vector<float> gradients(40, 1.0f);
  gradients[5] = std::numeric_limits<float>::infinity();
  layer.set_gradients(gradients);
  WorkerTeam team(1);
  const std::vector<uint8_t> without_it = {0, 0, 1, 0};
  EXPECT_TRUE(adamw_update(layer.view(), layer.gradient_view(without_it), step_of(1), team));
  const std::vector<uint8_t> with_it = {1, 0, 1, 0};
  EXPECT_FALSE(adamw_update(layer.view(), layer.gradient_view(with_it), step_of(2), team));
}

TEST(AdamWDeathTest, RefusesPlanesThatDoNotFitTheLayout) {
  TestLayer layer({{"w", {100}}}, StateFormat::kExact);
  WorkerTeam team(1);
  LayerStateView short_state = layer.view();
  short_state.state = short_state.state.first(short_state.state.size() - 64);
  EXPECT_DEATH(adamw_update(short_state, layer.gradient_view(), {}, team), "layer.state.size");
  LayerGradientView wrong_dtype = layer.gradient_view();
  wrong_dtype.dtype = DType::kFloat32;
  EXPECT_DEATH(adamw_update(layer.view(), wrong_dtype, {}, team), "gradient.bytes.size");
}

}  // namespace
}  // namespace penstock
