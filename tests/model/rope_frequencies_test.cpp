// Inverse frequencies bit for bit as transformers 5.23 computes them (ROPE_INIT_FUNCTIONS), head_dim 18.
#include "model/rope_frequencies.h"

#include <gtest/gtest.h>

#include <bit>

namespace penstock {
namespace {

std::vector<uint32_t> bits_of(RopeScaling scaling, double theta, int64_t max_position_embeddings = 131072) {
  ModelConfig config;
  config.head_dim = 18;
  config.rope_theta = theta;
  config.rope_scaling = scaling;
  config.max_position_embeddings = max_position_embeddings;
  std::vector<uint32_t> bits;
  for (const float value : rope_frequencies(config).inverse) bits.push_back(std::bit_cast<uint32_t>(value));
  return bits;
}

using Bits = std::vector<uint32_t>;

TEST(RopeFrequencies, Linear) {
  EXPECT_EQ(bits_of({.type = RopeType::kLinear, .factor = 3.3}, 1e4),
            (Bits{0x3e9b26ca, 0x3ddf08c6, 0x3d204f08, 0x3c6672a5, 0x3ba5a329, 0x3aee1b9b, 0x3a2b249e, 0x397605c2,
                  0x38b0d4f2}));
}

TEST(RopeFrequencies, DynamicUpToTheTrainedLengthIsUnscaled) {
  const Bits bits = bits_of({.type = RopeType::kDynamic, .factor = 2.7}, 1e4, 1000);
  EXPECT_EQ(bits, (Bits{0x3f800000, 0x3eb800d6, 0x3e044133, 0x3d3e1e95, 0x3c88a69b, 0x3bc47060, 0x3b0d3169, 0x3a4af7f3,
                        0x3991e2e1}));
  EXPECT_EQ(bits, bits_of({}, 1e4, 1000));
}

TEST(RopeFrequencies, Llama3) {
  EXPECT_EQ(bits_of({.type = RopeType::kLlama3,
                     .factor = 8,
                     .original_max_position_embeddings = 8192,
                     .low_freq_factor = 1,
                     .high_freq_factor = 4},
                    5e5),
            (Bits{0x3f800000, 0x3e6e46c4, 0x3d5dc7a7, 0x3c4e6ce9, 0x3b362e41, 0x38b2d501, 0x37a67376, 0x369aed5b,
                  0x3590337f}));
}

TEST(RopeFrequencies, YarnTruncatedAndNot) {
  EXPECT_EQ(bits_of({.type = RopeType::kYarn, .factor = 40, .original_max_position_embeddings = 4096}, 1e4),
            (Bits{0x3f800000, 0x3eb800d6, 0x3e044133, 0x3d190bd1, 0x3c26b6c8, 0x3b230b5a, 0x39f87feb, 0x37a25ff6,
                  0x36e96b00}));
  EXPECT_EQ(bits_of({.type = RopeType::kYarn,
                     .factor = 4,
                     .original_max_position_embeddings = 32768,
                     .beta_fast = 20,
                     .beta_slow = 2,
                     .truncate = false},
                    1e6),
            (Bits{0x3f800000, 0x3e5c9d37, 0x3d3e1e96, 0x3c23d709, 0x3ae5592a, 0x3917f096, 0x37d1b713, 0x36b4ba1f,
                  0x359bbef1}));
}

TEST(RopeFrequencies, OnlyYarnScalesCosinesAndSines) {
  ModelConfig config;
  config.head_dim = 18;
  config.rope_scaling = {.type = RopeType::kYarn,
                         .factor = 40,
                         .original_max_position_embeddings = 4096,
                         .attention_factor = 1.3688879454113936};
  EXPECT_EQ(rope_frequencies(config).scale, 1.3688879454113936f);
  config.rope_scaling.type = RopeType::kLinear;
  EXPECT_EQ(rope_frequencies(config).scale, 1.0f);
}

}  // namespace
}  // namespace penstock
