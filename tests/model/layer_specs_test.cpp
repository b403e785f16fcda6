#include "model/layer_specs.h"

#include <gtest/gtest.h>

#include <set>

namespace penstock {
namespace {

// Odd sizes: no two extents are equal, so that a swapped pair cannot hide.
ModelConfig odd_config() {
  ModelConfig config;
  config.vocab_size = 263;
  config.hidden_size = 24;
  config.intermediate_size = 40;
  config.num_hidden_layers = 3;
  config.num_attention_heads = 6;
  config.num_key_value_heads = 2;
  config.head_dim = 10;
  return config;
}

TEST(LayerSpecs, OneLayoutForEmbeddingEachBlockAndHead) {
  const std::vector<LayerLayout> layouts = layer_layouts(odd_config());
  ASSERT_EQ(layouts.size(), 5u);
  EXPECT_EQ(layouts.front().tensors().front().spec.name, "model.embed_tokens.weight");
  EXPECT_EQ(layouts.back().tensors().front().spec.name, "model.norm.weight");
  EXPECT_EQ(layouts.back().tensors().back().spec.name, "lm_head.weight");
}

TEST(LayerSpecs, BlockTensorsInSlabOrderWithHuggingFaceShapes) {
  const std::vector<LayerLayout> layouts = layer_layouts(odd_config());
  using Expected = std::pair<std::string, std::vector<int64_t>>;
  const std::vector<Expected> expected = {
      {"model.layers.1.input_layernorm.weight", {24}},      {"model.layers.1.self_attn.q_proj.weight", {60, 24}},
      {"model.layers.1.self_attn.k_proj.weight", {20, 24}}, {"model.layers.1.self_attn.v_proj.weight", {20, 24}},
      {"model.layers.1.self_attn.o_proj.weight", {24, 60}}, {"model.layers.1.post_attention_layernorm.weight", {24}},
      {"model.layers.1.mlp.gate_proj.weight", {40, 24}},    {"model.layers.1.mlp.up_proj.weight", {40, 24}},
      {"model.layers.1.mlp.down_proj.weight", {24, 40}},
  };
  const std::vector<TensorPlace>& tensors = layouts[2].tensors();
  ASSERT_EQ(tensors.size(), expected.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(tensors[i].spec.name, expected[i].first);
    EXPECT_EQ(tensors[i].spec.shape, expected[i].second) << expected[i].first;
    EXPECT_EQ(tensors[i].spec.decays, expected[i].second.size() == 2) << expected[i].first;
  }
}

TEST(LayerSpecs, FusableTensorsTouchWhereSizesAllow) {
  ModelConfig config = odd_config();
  config.hidden_size = 64;
  config.head_dim = 8;
  config.num_attention_heads = 8;
  const std::vector<LayerLayout> layouts = layer_layouts(config);
  const LayerLayout& block = layouts[1];
  const auto end = [&](const char* name) {
    const TensorPlace& place = block.tensor(std::string("model.layers.0.") + name);
    return place.offset + place.element_count;
  };
  const auto start = [&](const char* name) { return block.tensor(std::string("model.layers.0.") + name).offset; };
  EXPECT_EQ(end("self_attn.q_proj.weight"), start("self_attn.k_proj.weight"));
  EXPECT_EQ(end("self_attn.k_proj.weight"), start("self_attn.v_proj.weight"));
  EXPECT_EQ(end("mlp.gate_proj.weight"), start("mlp.up_proj.weight"));
}

TEST(LayerSpecs, NamesAreUniqueInTheModelAndSumToTheParameterCount) {
  const ModelConfig config = odd_config();
  std::set<std::string> names;
  uint64_t count = 0;
  for (const LayerLayout& layout : layer_layouts(config)) {
    count += layout.parameter_count();
    for (const TensorPlace& place : layout.tensors()) EXPECT_TRUE(names.insert(place.spec.name).second);
  }
  EXPECT_EQ(names.size(), 1u + 3 * 9 + 2);
  EXPECT_EQ(count, static_cast<uint64_t>(parameter_count(config)));
}

}  // namespace
}  // namespace penstock
