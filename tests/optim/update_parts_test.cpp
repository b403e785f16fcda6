// An update cut into parts gives the bits of one whole update: pieces, hot rows first, rows without a gradient.
#include <gtest/gtest.h>

#include <limits>

#include "layer_state.h"
#include "optim/fixed_blocks.h"
#include "optim/row_ranges.h"

namespace penstock {
namespace {

constexpr uint64_t kSeed = 2718;

struct Setting {
  StateFormat format;
  DType gradient;
};

AdamWStep step_of(int64_t update_count) {
  return {.learning_rate = 1e-2,
          .weight_decay = 0.1,
          .update_count = update_count,
          .gradient_scale = 0.37f,
          .seed = 99,
          .layer = 3};
}

std::vector<uint8_t> random_flags(uint64_t stream, size_t count, float share) {
  const CounterRandom random(kSeed, stream);
  std::vector<uint8_t> flags(count);
  for (size_t row = 0; row < count; ++row) flags[row] = random.uniform(row) < share;
  return flags;
}

// Rows that end off every border; more blocks than one in the first tensor, fewer in the others.
constexpr int64_t kRows = 720;
std::vector<TensorSpec> tensors_of(int64_t width) {
  return {{"embed", {kRows, width}}, {"norm", {130}, false}, {"head", {70, 1000}}};
}

class UpdateParts : public testing::TestWithParam<Setting> {
 protected:
  struct Pair {
    TestLayer whole;
    TestLayer parts;
  };

  std::unique_ptr<Pair> make_layers(const std::vector<TensorSpec>& tensors) const {
    auto layers = std::unique_ptr<Pair>(new Pair{.whole = {tensors, GetParam().format, GetParam().gradient},
                                                 .parts = {tensors, GetParam().format, GetParam().gradient}});
    const size_t count = layers->whole.layout.parameter_count();
    for (TestLayer* layer : {&layers->whole, &layers->parts}) layer->set_masters(random_values(kSeed, 0, count, 1.0));
    return layers;
  }
  // Updates `whole` at once; `parts` has the same gradient afterwards and is still to be updated.
  void update_whole(Pair& layers, int64_t update) {
    const size_t count = layers.whole.layout.parameter_count();
    for (TestLayer* layer : {&layers.whole, &layers.parts}) {
      layer->set_gradients(random_values(kSeed, static_cast<uint64_t>(update), count, 1.0));
    }
    ASSERT_TRUE(adamw_update(layers.whole.view(), layers.whole.gradient_view(), step_of(update), team_));
  }
  void update_part(Pair& layers, int64_t update, const UpdatePart& part) {
    ASSERT_TRUE(adamw_update(layers.parts.view(), layers.parts.gradient_view(), step_of(update), team_, part));
  }

  WorkerTeam team_{2};
};

INSTANTIATE_TEST_SUITE_P(
    Formats, UpdateParts,
    testing::Values(Setting{StateFormat::kExact, DType::kBFloat16}, Setting{StateFormat::kExact, DType::kFloat32},
                    Setting{StateFormat::kFloat32, DType::kFloat32}, Setting{StateFormat::kFloat32, DType::kBFloat16},
                    Setting{StateFormat::kCompact, DType::kBFloat16}, Setting{StateFormat::kCompact, DType::kFloat32},
                    Setting{StateFormat::kCompact8, DType::kBFloat16},
                    Setting{StateFormat::kCompact8, DType::kFloat32}),
    [](const auto& suite) {
      return std::string(state_format_name(suite.param.format)) + "_" + std::string(dtype_name(suite.param.gradient));
    });

TEST_P(UpdateParts, PiecesOfEveryCut) {
  const auto layers = make_layers(tensors_of(190));
  const int64_t block_count = FixedBlocks(layers->whole.layout).block_count();
  ASSERT_GE(block_count, 6);
  int64_t update = 0;
  for (int64_t cut = 0; cut <= block_count; ++cut) {
    ++update;
    update_whole(*layers, update);
    update_part(*layers, update, {.first_block = cut});  // the later piece first
    update_part(*layers, update, {.first_block = 0, .end_block = cut});
    ASSERT_TRUE(layers->parts.bytes() == layers->whole.bytes()) << "cut at block " << cut;
  }
  update_whole(*layers, ++update);
  for (int64_t block = 0; block < block_count; ++block) {
    update_part(*layers, update, {.first_block = block, .end_block = block + 1});
  }
  update_part(*layers, update, {.first_block = block_count, .end_block = block_count + 5});  // nothing
  EXPECT_TRUE(layers->parts.bytes() == layers->whole.bytes());
}

TEST_P(UpdateParts, HotRowsThenColdOnes) {
  int64_t update = 0;
  for (const int64_t width : {1, 63, 128, 190, 256}) {
    const auto layers = make_layers(tensors_of(width));
    const TensorPlace& embed = layers->parts.layout.tensor("embed");
    for (const float share : {0.0f, 0.01f, 0.3f, 1.0f}) {
      ++update;
      const std::vector<uint8_t> hot = random_flags(static_cast<uint64_t>(update), kRows, share);
      update_whole(*layers, update);
      UpdatePart part{.rows = UpdatePart::Rows::kHot, .row_tensor = &embed, .hot_rows = hot};
      update_part(*layers, update, part);
      part.rows = UpdatePart::Rows::kCold;
      update_part(*layers, update, part);
      ASSERT_TRUE(layers->parts.bytes() == layers->whole.bytes()) << width << " wide, share " << share << " hot";
    }
  }
}

TEST_P(UpdateParts, HotAndColdInPieces) {
  const auto layers = make_layers(tensors_of(190));
  const TensorPlace& embed = layers->parts.layout.tensor("embed");
  const int64_t block_count = FixedBlocks(layers->whole.layout).block_count();
  const std::vector<uint8_t> hot = random_flags(77, kRows, 0.1f);
  update_whole(*layers, 1);
  for (const auto rows : {UpdatePart::Rows::kCold, UpdatePart::Rows::kHot}) {
    for (int64_t block = 0; block < block_count; ++block) {
      update_part(*layers, 1,
                  {.first_block = block, .end_block = block + 1, .rows = rows, .row_tensor = &embed, .hot_rows = hot});
    }
  }
  EXPECT_TRUE(layers->parts.bytes() == layers->whole.bytes());
}

TEST_P(UpdateParts, HotTakesTheBlocksOfHotRowsAndNothingElse) {
  const auto layers = make_layers(tensors_of(190));
  const TensorPlace& embed = layers->parts.layout.tensor("embed");
  std::vector<uint8_t> hot(kRows);
  hot[5] = hot[300] = 1;
  const std::vector<float> before = layers->parts.masters();
  update_whole(*layers, 1);
  update_part(*layers, 1, {.rows = UpdatePart::Rows::kHot, .row_tensor = &embed, .hot_rows = hot});
  const std::vector<float> whole = layers->whole.masters();
  const std::vector<float> parts = layers->parts.masters();
  for (size_t i = 0; i < before.size(); ++i) {
    const auto takes = [&](size_t row) {
      return i >= row * 190 / 128 * 128 && i < (row * 190 + 190 + 127) / 128 * 128;
    };
    const bool is_hot = i < embed.element_count && (takes(5) || takes(300));
    ASSERT_EQ(parts[i], is_hot ? whole[i] : before[i]) << i;
  }
}

// Untouched rows hold NaN gradients: reading one of them would poison the weights.
TEST_P(UpdateParts, UntouchedRowsOfAnyWidth) {
  for (const int64_t width : {1, 63, 128, 190, 5000}) {
    const int64_t rows = width == 5000 ? 30 : kRows;
    const auto layers = make_layers({{"embed", {rows, width}}});
    const TensorPlace& embed = layers->parts.layout.tensor("embed");
    const size_t count = embed.element_count;
    for (int64_t update = 1; update <= 3; ++update) {
      std::vector<uint8_t> touched = random_flags(static_cast<uint64_t>(update), static_cast<size_t>(rows), 0.5f);
      std::fill_n(touched.begin(), touched.size() / 4, uint8_t{update == 1});  // long runs of both kinds
      std::vector<float> stale = random_values(kSeed, static_cast<uint64_t>(10 + update), count, 1.0);
      std::vector<float> zeroed = stale;
      for (size_t i = 0; i < count; ++i) {
        if (touched[i / static_cast<size_t>(width)]) continue;
        stale[i] = std::numeric_limits<float>::quiet_NaN();
        zeroed[i] = 0;
      }
      layers->whole.set_gradients(zeroed);
      layers->parts.set_gradients(stale);
      ASSERT_TRUE(adamw_update(layers->whole.view(), layers->whole.gradient_view(), step_of(update), team_));
      const std::vector<uint8_t> hot = random_flags(40, static_cast<size_t>(rows), 0.1f);
      for (const auto part : {UpdatePart::Rows::kHot, UpdatePart::Rows::kCold}) {
        ASSERT_TRUE(adamw_update(layers->parts.view(), layers->parts.gradient_view(touched), step_of(update), team_,
                                 {.rows = part, .row_tensor = &embed, .hot_rows = hot}));
      }
      ASSERT_TRUE(layers->parts.bytes() == layers->whole.bytes()) << width << " wide, update " << update;
    }
  }
}

TEST_P(UpdateParts, ThreadCountChangesNoBit) {
  const auto layers = make_layers(tensors_of(256));
  const TensorPlace& embed = layers->parts.layout.tensor("embed");
  int64_t update = 0;
  for (const int threads : {1, 3, 7}) {
    WorkerTeam team(threads);
    update_whole(*layers, ++update);
    const std::vector<uint8_t> hot = random_flags(static_cast<uint64_t>(threads), kRows, 0.3f);
    for (const auto rows : {UpdatePart::Rows::kHot, UpdatePart::Rows::kCold}) {
      ASSERT_TRUE(adamw_update(layers->parts.view(), layers->parts.gradient_view(), step_of(update), team,
                               {.rows = rows, .row_tensor = &embed, .hot_rows = hot}));
    }
    ASSERT_TRUE(layers->parts.bytes() == layers->whole.bytes()) << threads << " threads";
  }
}

TEST(RowRanges, AgreeWithLookingAtEveryBlock) {
  for (const int64_t width : {1, 5, 64, 127, 128, 129, 300}) {
    const LayerLayout layout({{"rows", {101, width}}});
    const TensorPlace& tensor = layout.tensors()[0];
    const auto count = static_cast<int64_t>(tensor.element_count);
    for (uint64_t seed = 0; seed < 6; ++seed) {
      const std::vector<uint8_t> flags = random_flags(100 + seed, 101, seed % 2 == 0 ? 0.03f : 0.5f);
      std::vector<bool> flagged(static_cast<size_t>(count));
      for (int64_t i = 0; i < count; ++i) {
        const int64_t end = std::min(count, i / 128 * 128 + 128);
        for (int64_t j = i / 128 * 128; j < end; ++j) {
          if (flags[static_cast<size_t>(j / width)]) flagged[static_cast<size_t>(i)] = true;
        }
      }
      const int64_t begin = count / 3 / 128 * 128;
      std::vector<bool> found(static_cast<size_t>(count));
      for (ElementRange rest{begin, count}; rest.begin < rest.end;) {
        const ElementRange range = next_flagged_range(tensor, flags, rest);
        ASSERT_LE(rest.begin, range.begin);
        for (int64_t i = range.begin; i < range.end; ++i) found[static_cast<size_t>(i)] = true;
        ASSERT_TRUE(range.end == count || !flagged[static_cast<size_t>(range.end)]);  // as long as it goes on
        rest.begin = range.end;
      }
      for (int64_t i = begin; i < count; ++i) ASSERT_EQ(found[static_cast<size_t>(i)], flagged[static_cast<size_t>(i)]);
    }
  }
}

TEST(UpdatePartsDeathTest, RefusesFlagsThatDoNotFitTheTensor) {
  TestLayer layer({{"embed", {10, 4}}}, StateFormat::kExact);
  layer.set_masters(std::vector<float>(40, 1.0f));
  layer.set_gradients(std::vector<float>(40, 1.0f));
  WorkerTeam team(1);
  const std::vector<uint8_t> hot(9);
  UpdatePart part{.rows = UpdatePart::Rows::kHot, .row_tensor = &layer.layout.tensors()[0], .hot_rows = hot};
  EXPECT_DEATH(adamw_update(layer.view(), layer.gradient_view(), step_of(1), team, part), "hot_rows.size");
  part.row_tensor = nullptr;
  EXPECT_DEATH(adamw_update(layer.view(), layer.gradient_view(), step_of(1), team, part), "row_tensor");
}

}  // namespace
}  // namespace penstock
