// Where updates are cut, and which parts of an update a layer still lacks.
#include "streaming/update_pieces.h"

#include <gtest/gtest.h>

#include "model/layer_specs.h"
#include "optim/fixed_blocks.h"
#include "streaming/update_progress.h"
#include "tiny_run.h"

namespace penstock {
namespace {

using Rows = UpdatePart::Rows;

TEST(UpdatePieces, CoverTheSlabInWholeBlocksWhateverTheirSize) {
  const LayerLayout layout({{.name = "a", .shape = {300, 700}},
                            {.name = "frozen", .shape = {900}, .trainable = false},
                            {.name = "b", .shape = {11}},
                            {.name = "c", .shape = {kBlockElements * 2}}});
  const FixedBlocks blocks(layout);
  for (const uint64_t bytes : {uint64_t{1}, uint64_t{1000}, uint64_t{200'000}, uint64_t{400'000}, kUpdatePieceBytes}) {
    SCOPED_TRACE(bytes);
    const std::vector<UpdatePiece> pieces = update_pieces(layout, 2, bytes);
    ASSERT_FALSE(pieces.empty());
    int64_t block = 0;
    uint64_t element = 0;
    for (const UpdatePiece& piece : pieces) {
      EXPECT_EQ(piece.first_block, block);
      EXPECT_EQ(piece.first_element, element);
      EXPECT_LT(piece.first_block, piece.end_block);
      EXPECT_TRUE(block == 0 || blocks.block(block).slab_offset() == element);
      const bool is_last = &piece == &pieces.back();
      EXPECT_TRUE(is_last || (piece.end_element - piece.first_element) * 2 >= bytes);
      block = piece.end_block;
      element = piece.end_element;
    }
    EXPECT_EQ(block, blocks.block_count());
    EXPECT_EQ(element, layout.slab_elements());
  }
  EXPECT_EQ(update_pieces(layout, 2, kUpdatePieceBytes).size(), 1u);
  EXPECT_GE(update_pieces(layout, 2, 1).size(), 4u);
}

TEST(UpdatePieces, AHugeLayerHasAboutSixteenAndAFrozenOneNone) {
  const LayerLayout huge({{.name = "w", .shape = {kBlockElements * 1000, 17}}});
  const size_t count = update_pieces(huge, 2, kUpdatePieceBytes).size();
  EXPECT_LE(count, kMostUpdatePieces + 1);
  EXPECT_GE(count, kMostUpdatePieces / 2);
  EXPECT_TRUE(update_pieces(LayerLayout({{.name = "w", .shape = {8}, .trainable = false}}), 2, 1).empty());
}

class UpdateProgressTest : public testing::Test {
 protected:
  UpdateProgressTest() : plan_(tiny_plan(TinySettings())), memory_(plan_.shape, plan_.planner.buffers()) {}

  RunPlan plan_;
  ModelMemory memory_;
  UpdateProgress progress_{plan_.shape, memory_};
};

TEST_F(UpdateProgressTest, EachPieceIsTakenOnceAndTheWholeIsWhatIsLeft) {
  const auto pieces = update_pieces(memory_.layouts()[2], sizeof(float), 1);
  ASSERT_GT(pieces.size(), 3u);
  for (const int piece : {0, 2}) {
    const std::vector<UpdatePart> taken = progress_.take(2, piece, 5);
    ASSERT_EQ(taken.size(), 1u);
    EXPECT_EQ(taken[0].first_block, pieces[static_cast<size_t>(piece)].first_block);
    EXPECT_EQ(taken[0].end_block, pieces[static_cast<size_t>(piece)].end_block);
    EXPECT_TRUE(progress_.take(2, piece, 5).empty());
  }
  const std::vector<UpdatePart> rest = progress_.take(2, kWholeLayer, 5);
  ASSERT_EQ(rest.size(), pieces.size() - 2);
  EXPECT_EQ(rest[0].first_block, pieces[1].first_block);
  EXPECT_EQ(rest[1].first_block, pieces[3].first_block);
  EXPECT_TRUE(progress_.take(2, kWholeLayer, 5).empty());
  EXPECT_TRUE(progress_.take(2, 1, 5).empty());
  EXPECT_EQ(progress_.take(2, kWholeLayer, 6).size(), 1u);  // the next update
  EXPECT_EQ(progress_.take(3, kWholeLayer, 5).size(), 1u);  // another layer
}

TEST_F(UpdateProgressTest, HotRowsAreThoseOfTheTokensAndTheDrainTakesTheOthers) {
  const StepBatch batch = tiny_step(TinySettings(), 1);
  progress_.set_hot_rows(batch.micro_batches);
  const std::vector<UpdatePart> hot = progress_.take(0, kHotRows, 5);
  ASSERT_EQ(hot.size(), 1u);
  EXPECT_EQ(hot[0].rows, Rows::kHot);
  EXPECT_EQ(hot[0].row_tensor, &embedding_place(memory_.layouts()));
  std::vector<uint8_t> expected(static_cast<size_t>(plan_.shape.model.vocab_size), 0);
  for (const MicroBatch& part : batch.micro_batches) {
    for (const int32_t token : part.tokens) expected[static_cast<size_t>(token)] = 1;
  }
  EXPECT_EQ(std::vector<uint8_t>(hot[0].hot_rows.begin(), hot[0].hot_rows.end()), expected);
  const std::vector<UpdatePart> rest = progress_.take(0, kWholeLayer, 5);
  ASSERT_EQ(rest.size(), 1u);
  EXPECT_EQ(rest[0].rows, Rows::kCold);
  // A drain that nothing came before takes all rows at once.
  const std::vector<UpdatePart> all = progress_.take(0, kWholeLayer, 6);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].rows, Rows::kAll);
}

TEST(PlannedPieces, AddUpToTheLayersBytes) {
  TinySettings settings;
  settings.format = StateFormat::kCompact8;
  const RunPlan plan = tiny_plan(settings);
  const BufferTable& buffers = plan.planner.buffers();
  const std::vector<LayerLayout> layouts = layer_layouts(plan.shape.model, plan.shape.trainable);
  for (size_t layer = 0; layer < layouts.size(); ++layer) {
    uint64_t bytes = 0;
    const std::vector<BufferIndex> pieces = buffers.pieces(BufferKind::kHostWire, static_cast<int>(layer));
    for (const BufferIndex piece : pieces) bytes += buffers[piece].bytes;
    EXPECT_EQ(bytes, layouts[layer].slab_bytes(2)) << layer;
    EXPECT_GT(pieces.size(), 1u) << layer;
  }
  EXPECT_TRUE(buffers.contains(Buffer{.kind = BufferKind::kHostWire, .index = 0, .piece = kHotRows}));
}

}  // namespace
}  // namespace penstock
