#include "model/layer_specs.h"

#include <gtest/gtest.h>

#include <set>

#include "config_cases.h"
#include "core/error.h"

namespace penstock {
namespace {

TEST(LayerSpecs, OneLayoutForEmbeddingEachBlockAndHead) {
  const std::vector<LayerLayout> layouts = layer_layouts(small_config());
  ASSERT_EQ(layouts.size(), 5u);
  EXPECT_EQ(layouts.front().tensors().front().spec.name, "model.embed_tokens.weight");
  EXPECT_EQ(layouts.back().tensors().front().spec.name, "model.norm.weight");
  EXPECT_EQ(layouts.back().tensors().back().spec.name, "lm_head.weight");
}

TEST(LayerSpecs, BlockTensorsInSlabOrderWithHuggingFaceShapes) {
  const std::vector<LayerLayout> layouts = layer_layouts(small_config());
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
  ModelConfig config = small_config();
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
  const ModelConfig config = small_config();
  std::set<std::string> names;
  uint64_t count = 0;
  for (const LayerLayout& layout : layer_layouts(config)) {
    count += layout.parameter_count();
    for (const TensorPlace& place : layout.tensors()) EXPECT_TRUE(names.insert(place.spec.name).second);
  }
  EXPECT_EQ(names.size(), 1u + 3 * 9 + 2);
  EXPECT_EQ(count, static_cast<uint64_t>(parameter_count(config)));
}

ModelConfig switched_config() {
  ModelConfig config = small_config();
  config.qkv_bias = config.output_bias = config.mlp_bias = config.qk_norm = true;
  return config;
}

TEST(LayerSpecs, SwitchesAddTheirTensorsInSlabOrder) {
  const std::vector<LayerLayout> layouts = layer_layouts(switched_config());
  using Expected = std::pair<std::string, std::vector<int64_t>>;
  const std::vector<Expected> expected = {
      {"input_layernorm.weight", {24}},      {"self_attn.q_proj.weight", {60, 24}},
      {"self_attn.k_proj.weight", {20, 24}}, {"self_attn.v_proj.weight", {20, 24}},
      {"self_attn.q_proj.bias", {60}},       {"self_attn.k_proj.bias", {20}},
      {"self_attn.v_proj.bias", {20}},       {"self_attn.q_norm.weight", {10}},
      {"self_attn.k_norm.weight", {10}},     {"self_attn.o_proj.weight", {24, 60}},
      {"self_attn.o_proj.bias", {24}},       {"post_attention_layernorm.weight", {24}},
      {"mlp.gate_proj.weight", {40, 24}},    {"mlp.up_proj.weight", {40, 24}},
      {"mlp.gate_proj.bias", {40}},          {"mlp.up_proj.bias", {40}},
      {"mlp.down_proj.weight", {24, 40}},    {"mlp.down_proj.bias", {24}},
  };
  const std::vector<TensorPlace>& tensors = layouts[3].tensors();
  ASSERT_EQ(tensors.size(), expected.size());
  uint64_t end = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(tensors[i].spec.name, "model.layers.2." + expected[i].first);
    EXPECT_EQ(tensors[i].spec.shape, expected[i].second) << expected[i].first;
    EXPECT_EQ(tensors[i].spec.decays, expected[i].second.size() == 2) << expected[i].first;
    EXPECT_TRUE(tensors[i].spec.trainable) << expected[i].first;
    EXPECT_GE(tensors[i].offset, end) << expected[i].first;
    end = tensors[i].offset + tensors[i].element_count;
  }
  EXPECT_EQ(layouts[3].trainable_elements(), layouts[3].slab_elements());
}

TEST(LayerSpecs, SwitchedNamesSumToTheParameterCount) {
  for (const bool tied : {false, true}) {
    ModelConfig config = switched_config();
    config.tie_word_embeddings = tied;
    uint64_t count = 0;
    for (const LayerLayout& layout : layer_layouts(config)) count += layout.parameter_count();
    EXPECT_EQ(count, static_cast<uint64_t>(parameter_count(config)));
  }
}

TEST(LayerSpecs, ATiedHeadOwnsTheEmbedding) {
  ModelConfig config = small_config();
  config.tie_word_embeddings = true;
  const std::vector<LayerLayout> layouts = layer_layouts(config);
  EXPECT_TRUE(layouts.front().tensors().empty());
  EXPECT_EQ(layouts.back().tensors().back().spec.name, "model.embed_tokens.weight");
  EXPECT_EQ(layouts.back().tensors().back().spec.shape, (std::vector<int64_t>{263, 24}));
  EXPECT_EQ(head_weight_name(config), "model.embed_tokens.weight");
}

TEST(LayerSpecs, PatternsDecideWhatIsTrained) {
  const std::vector<LayerLayout> layouts = layer_layouts(switched_config(), {"model.layers.1.*bias", "lm_head.weight"});
  for (size_t layer = 0; layer < layouts.size(); ++layer) {
    for (const TensorPlace& place : layouts[layer].tensors()) {
      const bool is_bias_of_1 = layer == 2 && place.spec.name.ends_with(".bias");
      EXPECT_EQ(place.spec.trainable, is_bias_of_1 || place.spec.name == "lm_head.weight") << place.spec.name;
      if (place.spec.trainable) {
        EXPECT_LE(place.offset + place.element_count, layouts[layer].trainable_elements());
      } else {
        EXPECT_GE(place.offset, layouts[layer].trainable_elements()) << place.spec.name;
      }
    }
  }
  EXPECT_FALSE(layouts[1].trains());
  EXPECT_TRUE(layouts[2].trains());
}

TEST(LayerSpecs, NamePatterns) {
  EXPECT_TRUE(matches_name_pattern("*", ""));
  EXPECT_TRUE(matches_name_pattern("model.layers.?.mlp.*", "model.layers.3.mlp.up_proj.weight"));
  EXPECT_FALSE(matches_name_pattern("model.layers.?.mlp.*", "model.layers.13.mlp.up_proj.weight"));
  EXPECT_TRUE(matches_name_pattern("*.bias", "a.bias.bias"));
  EXPECT_TRUE(matches_name_pattern("*a*b", "xaxbxab"));
  EXPECT_FALSE(matches_name_pattern("*a*b", "xaxbxa"));
  EXPECT_FALSE(matches_name_pattern("lm_head", "lm_head.weight"));
  EXPECT_FALSE(matches_name_pattern("", "x"));
  EXPECT_TRUE(matches_name_pattern("a*", "a*"));
}

TEST(LayerSpecs, APatternThatMatchesNothingIsRefusedWithTheNamesThereAre) {
  require_trainable(small_config(), {"*q_proj*", "model.layers.2.*"});
  try {
    require_trainable(small_config(), {"*q_proj*", "*query*"});
    FAIL() << "it was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    EXPECT_NE(std::string(error.what()).find("\"*query*\" matches no tensor"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("model.layers.*.self_attn.q_proj.weight"), std::string::npos);
  }
}

TEST(LayerSpecs, PartsOfTheHeadTileItsRows) {
  ModelConfig config = small_config();
  for (int parts = 1; parts <= 5; ++parts) {
    int64_t next = 0;
    for (int part = 0; part < parts; ++part) {
      const RowRange rows = head_part_rows(config.vocab_size, parts, part);
      EXPECT_EQ(rows.first, next);
      EXPECT_GT(rows.count(), 0);
      EXPECT_EQ(head_part_layout(config, {}, parts, part).tensor("lm_head.weight").spec.shape,
                (std::vector<int64_t>{rows.count(), 24}));
      next = rows.last;
    }
    EXPECT_EQ(next, config.vocab_size);
  }
  EXPECT_EQ(head_part_layout(config, {}, 1, 0).hash(), layer_layouts(config).back().hash());
}

}  // namespace
}  // namespace penstock
