// Generation with the KV cache against generation without it: the whole sequence is run again for every token.
#include <gtest/gtest.h>

#include <cmath>

#include "core/host_device.h"
#include "core/random.h"
#include "streaming/generator.h"
#include "tiny_run.h"

namespace penstock {
namespace {

struct Generated {
  std::vector<std::vector<int32_t>> tokens;
  std::vector<std::vector<float>> logits;
};

struct Case {
  StateFormat format;
  std::string family = "llama";
  int head_parts = 1;
};

Generated run(const GenerationRequest& request, int prefetch_depth, const Case& tested) {
  const ModelConfig model = tiny_model(3, 44, tested.family);
  RunShape shape = generation_shape(model, tested.format, DType::kFloat32, request);
  shape.head_parts = tested.head_parts;
  StepSettings settings;
  settings.purpose = Purpose::kGenerate;
  settings.prefetch_depth = prefetch_depth;
  const RunPlan plan = plan_run(shape, settings);
  HostDevice device{HostDeviceOptions{}};
  ModelMemory memory(plan.shape, plan.planner.buffers());
  WorkerTeam team(1);
  initialize_weights(memory, 3, team);
  StepEngine engine(plan, memory, device, {});
  Generated generated;
  generated.tokens = generate(engine, request, &generated.logits);
  return generated;
}

GenerationRequest request() {
  GenerationRequest request;
  request.prompts = {{1, 2, 3, 4, 5, 6, 7}, {9}, {30, 31, 32}};
  request.max_new_tokens = 9;
  request.sampling.greedy = true;
  return request;
}

class Generation : public testing::TestWithParam<Case> {};

TEST_P(Generation, CacheEqualsNoCache) {
  const Generated cached = run(request(), 1, GetParam());
  ASSERT_EQ(cached.logits.size(), 9u);
  const size_t vocab = 37;
  std::vector<std::vector<int32_t>> sequences = request().prompts;
  for (size_t step = 0; step < cached.logits.size(); ++step) {
    GenerationRequest whole = request();
    whole.prompts = sequences;
    whole.max_new_tokens = 1;
    const Generated fresh = run(whole, 2, GetParam());
    for (size_t row = 0; row < sequences.size(); ++row) {
      for (size_t v = 0; v < vocab; ++v) {
        const float expected = fresh.logits[0][row * vocab + v];
        EXPECT_NEAR(cached.logits[step][row * vocab + v], expected, 1e-5 * std::max(1.0f, std::abs(expected)))
            << "step " << step << ", row " << row;
      }
      ASSERT_EQ(cached.tokens[row][step], fresh.tokens[row][0]);
      sequences[row].push_back(fresh.tokens[row][0]);
    }
  }
}

TEST_P(Generation, PrefetchDepthChangesNothingAndStopTokensEndARow) {
  const Generated expected = run(request(), 1, GetParam());
  EXPECT_EQ(run(request(), 3, GetParam()).logits, expected.logits);
  GenerationRequest stopping = request();
  stopping.stop_tokens = {expected.tokens[0][2]};
  const Generated stopped = run(stopping, 1, GetParam());
  const auto first = std::find(expected.tokens[0].begin(), expected.tokens[0].end(), expected.tokens[0][2]);
  EXPECT_EQ(stopped.tokens[0], std::vector<int32_t>(expected.tokens[0].begin(), first));
}

TEST_P(Generation, AHeadInPartsGivesTheLogitsOfTheWhole) {
  const Generated expected = run(request(), 1, GetParam());
  Case split = GetParam();
  for (const int parts : {2, 5}) {
    split.head_parts = parts;
    const Generated actual = run(request(), 1, split);
    EXPECT_EQ(actual.tokens, expected.tokens);
    for (size_t i = 0; i < expected.logits[0].size(); ++i) {
      ASSERT_NEAR(actual.logits[0][i], expected.logits[0][i], 1e-5) << parts << " parts, logit " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Generation,
                         testing::Values(Case{StateFormat::kExact}, Case{StateFormat::kFloat32},
                                         Case{StateFormat::kFloat32, "mistral"}, Case{StateFormat::kExact, "qwen2"},
                                         Case{StateFormat::kFloat32, "qwen3"}, Case{StateFormat::kExact, "smollm3"},
                                         Case{StateFormat::kFloat32, "smollm3", 3}),
                         [](const auto& tested) {
                           return tested.param.family + "_" + std::string(state_format_name(tested.param.format)) +
                                  "_parts" + std::to_string(tested.param.head_parts);
                         });

TEST(Sampler, GreedyTakesTheLargestAndTheLowerIdOfATie) {
  const std::vector<float> logits = {0.5f, 2.0f, 2.0f, -1.0f};
  EXPECT_EQ(sample_token(logits, {.greedy = true}, 0, 0), 1);
}

// Chi-square-like check of every setting against probabilities computed here.
TEST(Sampler, FrequenciesFollowTemperatureTopKAndTopP) {
  const std::vector<float> logits = {1.0f, 0.0f, 2.0f, -1.0f, 0.5f};
  const auto expect_frequencies = [&](const SamplingSettings& settings, const std::vector<double>& weights) {
    constexpr int kDraws = 40000;
    std::vector<int> counts(logits.size(), 0);
    for (uint64_t draw = 0; draw < kDraws; ++draw)
      ++counts[static_cast<size_t>(sample_token(logits, settings, 1, draw))];
    double total = 0;
    for (double weight : weights) total += weight;
    for (size_t i = 0; i < weights.size(); ++i) {
      const double p = weights[i] / total;
      EXPECT_NEAR(counts[i], kDraws * p, 5 * std::sqrt(kDraws * p * (1 - p)) + 1e-9) << "token " << i;
    }
  };
  const auto e = [](double x) { return std::exp(x); };
  expect_frequencies({.seed = 1}, {e(1), e(0), e(2), e(-1), e(0.5)});
  expect_frequencies({.temperature = 0.5, .seed = 2}, {e(2), e(0), e(4), e(-2), e(1)});
  expect_frequencies({.top_k = 2, .seed = 3}, {e(1), 0, e(2), 0, 0});
  // Probabilities are .56 .21 .13 .08 .03 in rank order: 0.7 is reached by the second, 0.6 too, 0.5 by the first.
  expect_frequencies({.top_p = 0.7, .seed = 4}, {e(1), 0, e(2), 0, 0});
  expect_frequencies({.top_p = 0.5, .seed = 5}, {0, 0, 1, 0, 0});
}

}  // namespace
}  // namespace penstock
