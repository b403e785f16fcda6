#include "model/weight_init.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "model/layer_specs.h"

namespace penstock {
namespace {

constexpr uint64_t kSeed = 20240607;

ModelConfig wide_config() {
  ModelConfig config;
  config.vocab_size = 500;
  config.hidden_size = 240;
  config.intermediate_size = 600;
  config.num_hidden_layers = 1;
  config.num_attention_heads = 6;
  config.num_key_value_heads = 2;
  config.head_dim = 40;
  config.initializer_range = 0.05;
  return config;
}

std::vector<float> init(const TensorPlace& place, const ModelConfig& config, uint64_t seed, uint64_t index) {
  std::vector<float> values(place.element_count);
  init_tensor(place, config, seed, index, 0, values);
  return values;
}

bool bit_equal(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST(WeightInit, NormsAreOneBiasesZeroAndWeightsHaveTheMomentsOfTheNormal) {
  ModelConfig config = wide_config();
  config.qkv_bias = config.output_bias = config.mlp_bias = config.qk_norm = true;
  uint64_t index = 0;
  for (const LayerLayout& layout : layer_layouts(config)) {
    for (const TensorPlace& place : layout.tensors()) {
      const std::vector<float> values = init(place, config, kSeed, index++);
      if (place.spec.shape.size() == 1) {
        const float expected = place.spec.name.ends_with(".bias") ? 0.0f : 1.0f;
        EXPECT_EQ(values, std::vector<float>(values.size(), expected)) << place.spec.name;
        continue;
      }
      double sum = 0, squares = 0, fourth = 0;
      size_t inside = 0;
      for (const double value : values) {
        const double z = value / config.initializer_range;
        sum += z;
        squares += z * z;
        fourth += z * z * z * z;
        inside += std::abs(z) < 1;
      }
      // Six deviations of each estimator: 1, sqrt(2), sqrt(96) and sqrt(0.683 * 0.317) over sqrt(n).
      const double n = static_cast<double>(values.size());
      const double six = 6 / std::sqrt(n);
      EXPECT_NEAR(sum / n, 0, six) << place.spec.name << " seed " << kSeed;
      EXPECT_NEAR(squares / n, 1, six * std::sqrt(2.0)) << place.spec.name << " seed " << kSeed;
      EXPECT_NEAR(fourth / n, 3, six * std::sqrt(96.0)) << place.spec.name << " seed " << kSeed;
      EXPECT_NEAR(static_cast<double>(inside) / n, 0.6827, six * 0.466) << place.spec.name << " seed " << kSeed;
    }
  }
}

TEST(WeightInit, AnySplitInAnyOrderGivesTheSameBits) {
  const ModelConfig config = wide_config();
  const std::vector<LayerLayout> layouts = layer_layouts(config);
  const TensorPlace& place = layouts[1].tensor("model.layers.0.mlp.up_proj.weight");
  const std::vector<float> whole = init(place, config, kSeed, 8);
  std::vector<float> pieces(whole.size());
  const size_t piece = 1237;  // odd: pairs of one random block are torn apart
  for (size_t start = (whole.size() - 1) / piece * piece;; start -= piece) {
    const size_t count = std::min(piece, whole.size() - start);
    init_tensor(place, config, kSeed, 8, start, std::span(pieces).subspan(start, count));
    if (start == 0) break;
  }
  EXPECT_TRUE(bit_equal(whole, pieces));
}

TEST(WeightInit, SeedAndTensorIndexChangeTheValues) {
  const ModelConfig config = wide_config();
  const std::vector<LayerLayout> layouts = layer_layouts(config);
  const TensorPlace& place = layouts[1].tensor("model.layers.0.self_attn.k_proj.weight");
  const std::vector<float> base = init(place, config, kSeed, 3);
  EXPECT_TRUE(bit_equal(base, init(place, config, kSeed, 3)));
  for (const std::vector<float>& other : {init(place, config, kSeed + 1, 3), init(place, config, kSeed, 4)}) {
    size_t equal = 0;
    for (size_t i = 0; i < base.size(); ++i) equal += base[i] == other[i];
    EXPECT_LT(equal, base.size() / 1000);
  }
}

TEST(WeightInit, PaddingRowOfTheEmbeddingIsZeroInEverySplit) {
  ModelConfig config = wide_config();
  const std::vector<LayerLayout> layouts = layer_layouts(config);
  const TensorPlace& embedding = layouts.front().tensors().front();
  const std::vector<float> plain = init(embedding, config, kSeed, 0);
  config.pad_token_id = 7;
  const std::vector<float> padded = init(embedding, config, kSeed, 0);
  for (size_t i = 0; i < plain.size(); ++i) {
    ASSERT_EQ(padded[i], i / 240 == 7 ? 0.0f : plain[i]) << "element " << i;
  }
  std::vector<float> pieces(padded.size());
  for (size_t start = 0; start < pieces.size(); start += 100) {  // the row spans pieces, and some hold part of it
    init_tensor(embedding, config, kSeed, 0, start, std::span(pieces).subspan(start, 100));
  }
  EXPECT_TRUE(bit_equal(padded, pieces));
  EXPECT_NE(init(layouts.back().tensors().back(), config, kSeed, 0)[7 * 240], 0.0f);  // lm_head keeps its row
  config.tie_word_embeddings = true;                                                  // then it is the embedding
  const std::vector<LayerLayout> tied = layer_layouts(config);
  EXPECT_TRUE(bit_equal(padded, init(tied.back().tensors().back(), config, kSeed, 0)));
}

}  // namespace
}  // namespace penstock
