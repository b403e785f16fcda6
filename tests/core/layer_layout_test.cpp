#include "core/layer_layout.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/error.h"

namespace penstock {
namespace {

LayerLayout layout_of(std::vector<TensorSpec> tensors) { return LayerLayout(std::move(tensors)); }

std::vector<TensorSpec> odd_tensors() {
  return {{.name = "norm", .shape = {5}, .decays = false},
          {.name = "q", .shape = {3, 127}},
          {.name = "k", .shape = {128}},
          {.name = "scale", .shape = {}},
          {.name = "v", .shape = {2, 3, 50}}};
}

TEST(LayerLayout, TensorsAreAlignedAndDoNotOverlap) {
  const LayerLayout layout(odd_tensors());
  uint64_t end = 0;
  uint64_t parameters = 0;
  for (const TensorPlace& place : layout.tensors()) {
    EXPECT_EQ(place.offset * 2 % kTensorAlignment, 0u) << place.spec.name;
    EXPECT_GE(place.offset, end) << place.spec.name;
    EXPECT_LT(place.offset, end + kTensorAlignment / 2) << "no more padding than the border needs";
    end = place.offset + place.element_count;
    parameters += place.element_count;
  }
  EXPECT_GE(layout.slab_elements(), end);
  EXPECT_EQ(layout.slab_bytes(2) % kTensorAlignment, 0u);
  EXPECT_EQ(layout.parameter_count(), parameters);
}

TEST(LayerLayout, OffsetsAreTheOnesWrittenHere) {
  const LayerLayout layout(odd_tensors());
  EXPECT_EQ(layout.tensor("norm").offset, 0u);
  EXPECT_EQ(layout.tensor("q").offset, 128u);
  EXPECT_EQ(layout.tensor("q").element_count, 381u);
  EXPECT_EQ(layout.tensor("k").offset, 512u);
  EXPECT_EQ(layout.tensor("scale").offset, 640u);
  EXPECT_EQ(layout.tensor("scale").element_count, 1u);
  EXPECT_EQ(layout.tensor("v").offset, 768u);
  EXPECT_EQ(layout.slab_elements(), 1152u);
  EXPECT_EQ(layout.slab_bytes(4), 4608u);
  EXPECT_EQ(layout.parameter_count(), 815u);
  EXPECT_FALSE(layout.tensor("norm").spec.decays);
}

// q, k and v of most models are one GEMM because nothing lies between them.
TEST(LayerLayout, MultiplesOf128ElementsLieWithoutPadding) {
  const LayerLayout layout(
      {{.name = "q", .shape = {96, 64}}, {.name = "k", .shape = {32, 64}}, {.name = "v", .shape = {32, 64}}});
  EXPECT_EQ(layout.tensor("k").offset, 96u * 64);
  EXPECT_EQ(layout.tensor("v").offset, 128u * 64);
  EXPECT_EQ(layout.slab_elements(), layout.parameter_count());
}

TEST(LayerLayout, HashTellsNamesShapesAndOrderApart) {
  const uint64_t hash = LayerLayout(odd_tensors()).hash();
  EXPECT_EQ(LayerLayout(odd_tensors()).hash(), hash);

  std::vector<TensorSpec> changed = odd_tensors();
  changed[1].name.push_back('2');
  EXPECT_NE(LayerLayout(changed).hash(), hash) << "name";

  changed = odd_tensors();
  changed[1].shape = {127, 3};
  EXPECT_NE(LayerLayout(changed).hash(), hash) << "shape of equal size";

  changed = odd_tensors();
  std::swap(changed[1], changed[2]);
  EXPECT_NE(LayerLayout(changed).hash(), hash) << "order";

  changed = odd_tensors();
  changed.pop_back();
  EXPECT_NE(LayerLayout(changed).hash(), hash) << "count";

  changed = odd_tensors();
  changed.back().trainable = false;  // the last one stays where it is
  EXPECT_NE(LayerLayout(changed).hash(), hash) << "what is trained";
}

TEST(LayerLayout, TrainableTensorsComeFirstAndEndTheStatePlanes) {
  std::vector<TensorSpec> tensors = odd_tensors();
  tensors.front().trainable = false;
  const LayerLayout layout(tensors);
  uint64_t trained_end = 0, frozen_begin = UINT64_MAX;
  for (const TensorPlace& place : layout.tensors()) {
    if (place.spec.trainable) trained_end = std::max(trained_end, place.offset + place.element_count);
    if (!place.spec.trainable) frozen_begin = std::min(frozen_begin, place.offset);
  }
  EXPECT_EQ(layout.tensors().front().spec.name, tensors.front().name) << "the order of tensors() is the given one";
  EXPECT_LE(trained_end, layout.trainable_elements());
  EXPECT_EQ(frozen_begin, layout.trainable_elements());
  EXPECT_EQ(layout.slab_elements(), LayerLayout(odd_tensors()).slab_elements());
  EXPECT_EQ(LayerLayout(odd_tensors()).trainable_elements(), layout.slab_elements());
}

TEST(LayerLayout, WithoutTensorsItIsEmpty) {
  const LayerLayout layout({});
  EXPECT_EQ(layout.slab_elements(), 0u);
  EXPECT_FALSE(layout.trains());
}

TEST(LayerLayout, HashIsStoredWithCheckpointsAndMayNotChange) {
  // FNV-1a, worked out elsewhere, of the words 1 (tensors), 1, "a", 2 (extents), 2, 3, 0 (offset), little endian.
  EXPECT_EQ(layout_of({{.name = "a", .shape = {2, 3}}}).hash(), 0x11f5dd1a2f34aa2fu);
}

void expect_refused(std::vector<TensorSpec> tensors, const std::string& text) {
  try {
    const LayerLayout layout(std::move(tensors));
    FAIL() << "not refused: " << layout.slab_elements();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
  }
}

TEST(LayerLayout, OverflowIsRefused) {
  constexpr int64_t kHuge = int64_t{1} << 40;
  expect_refused({{.name = "product", .shape = {kHuge, kHuge}}}, "product");
  expect_refused({{.name = "planes", .shape = {int64_t{1} << 60}}}, "planes");
  // Each fits alone; together they do not.
  expect_refused({{.name = "first", .shape = {int64_t{1} << 58}}, {.name = "second", .shape = {int64_t{1} << 58}}},
                 "second");
}

TEST(LayerLayoutDeathTest, BadSpecsAreBugs) {
  EXPECT_DEATH(layout_of({{.name = "a", .shape = {1}}, {.name = "a", .shape = {1}}}), "check failed");
  EXPECT_DEATH(layout_of({{.name = "a", .shape = {0}}}), "check failed.*0 vs 0");
  EXPECT_DEATH(layout_of({{.name = "a", .shape = {1}}}).tensor("missing"), "missing");
}

}  // namespace
}  // namespace penstock
