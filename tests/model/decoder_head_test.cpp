// The head and its chunked loss against autograd.
#include "decoder_run.h"

namespace penstock {
namespace {

constexpr uint64_t kSeed = 20240612;

class DecoderHead : public testing::TestWithParam<DecoderCase> {};

void expect_like_autograd(const DecoderCase& c, DType wire, DType compute, int64_t chunk_tokens, double tolerance) {
  SCOPED_TRACE(testing::Message() << c.name << " chunk " << chunk_tokens << " seed " << kSeed);
  constexpr double kScale = 0.37;
  DecoderRun run(c, wire, compute, chunk_tokens);
  const TestBatch batch(c, kSeed);
  LayerWeights weights(run.layouts.back(), wire, kSeed);
  GuardedBytes input = planned(random_tensor(kSeed, 1, {c.rows * c.length, c.hidden}, 1.5), compute);
  GuardedBytes gradient(run.layouts.back().slab_bytes(4));

  const std::vector<int64_t> shape = {c.rows * c.length, c.hidden};
  const at::Tensor x = values_of(input, compute, shape).requires_grad_();
  const at::Tensor expected = reference::loss_sum(run.config, weights.leaves, x, batch.view());
  (expected * kScale).backward();

  const double loss = run.loss(weights, input, gradient.as<float>(), /*accumulate=*/false, kScale, batch);
  EXPECT_NEAR(loss, expected.item<double>(), tolerance * expected.item<double>());
  EXPECT_LE(relative_error(values_of(run.d_input, compute, shape), x.grad()), tolerance);
  weights.expect_gradients(gradient.as<float>(), tolerance);
  run.loss(weights, input, gradient.as<float>(), /*accumulate=*/true, kScale, batch);
  weights.expect_gradients(gradient.as<float>(), tolerance, /*factor=*/2.0);

  EXPECT_EQ(run.evaluate(weights, input, batch), loss) << "evaluation";
}

TEST_P(DecoderHead, MatchesAutogradForAnyChunk) {
  for (const int64_t chunk_tokens : {1, 5, 8, 1024}) {
    expect_like_autograd(GetParam(), DType::kFloat32, DType::kFloat32, chunk_tokens, 1e-5);
    expect_like_autograd(GetParam(), DType::kBFloat16, DType::kFloat32, chunk_tokens, 1e-5);
    expect_like_autograd(GetParam(), DType::kBFloat16, DType::kBFloat16, chunk_tokens, 2e-2);
  }
}

// Padding rows only: the loss is zero, and so are all gradients, in memory that held something else.
TEST(DecoderHeadMasks, WithoutTrainedTargetsEverythingIsZero) {
  const DecoderCase& c = odd_cases()[0];
  DecoderRun run(c, DType::kFloat32, DType::kFloat32, 5);
  TestBatch batch(c, kSeed);
  std::fill(batch.targets.begin(), batch.targets.end(), kUntrainedTarget);
  LayerWeights weights(run.layouts.back(), DType::kFloat32, kSeed);
  GuardedBytes input = planned(random_tensor(kSeed, 1, {c.rows * c.length, c.hidden}, 1.5), DType::kFloat32);
  GuardedBytes gradient(run.layouts.back().slab_bytes(4));
  EXPECT_EQ(run.loss(weights, input, gradient.as<float>(), false, 1.0, batch), 0.0);
  for (const float value : gradient.as<float>()) ASSERT_EQ(value, 0.0f);
  for (const float value : run.d_input.as<float>()) ASSERT_EQ(value, 0.0f);

  std::fill(gradient.as<float>().begin(), gradient.as<float>().end(), 3.0f);
  run.loss(weights, input, gradient.as<float>(), true, 1.0, batch);
  for (const float value : gradient.as<float>()) ASSERT_EQ(value, 3.0f);
}

// Logits far apart: the sum of exponentials must not overflow, and a certain token costs nothing.
TEST(DecoderHeadMasks, ExtremeLogitsStayFinite) {
  const DecoderCase& c = odd_cases()[0];
  DecoderRun run(c, DType::kFloat32, DType::kFloat32);
  const TestBatch batch(c, kSeed);
  LayerWeights weights(run.layouts.back(), DType::kFloat32, kSeed);
  for (float& value : weights.slab.as<float>()) value *= 300.0f;
  GuardedBytes input = planned(random_tensor(kSeed, 1, {c.rows * c.length, c.hidden}, 1.5), DType::kFloat32);
  GuardedBytes gradient(run.layouts.back().slab_bytes(4));
  std::memset(gradient.span().data(), 0, gradient.span().size());
  EXPECT_TRUE(std::isfinite(run.loss(weights, input, gradient.as<float>(), false, 1.0, batch)));
  for (const float value : gradient.as<float>()) ASSERT_TRUE(std::isfinite(value));
}

INSTANTIATE_TEST_SUITE_P(OddShapes, DecoderHead, testing::ValuesIn(odd_cases()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace penstock
