// One block, forward and backward, against autograd.
#include "decoder_run.h"

namespace penstock {
namespace {

constexpr uint64_t kSeed = 20240611;

// Every switch on a shape with packed rows, of which one segment and one whole row exceed the windows, and on one whose
// weights lie without padding. There a row with a window is longer than a chunk of windowed attention.
std::vector<DecoderCase> switched_cases() {
  std::vector<DecoderCase> cases;
  for (const SwitchCase& switches : switch_cases()) {
    const std::string name = switches.name;
    cases.push_back({name + "_packed", 30, 44, 37, 6, 2, 10, 3, 25, {4, 5, 17, 50}, switches.set});
    DecoderCase adjacent = {name + "_adjacent", 32, 64, 50, 4, 1, 16, 2, 20, {13}, switches.set};
    if (!config_of(adjacent).windows.empty()) {
      adjacent.rows = 1;
      adjacent.length = 290;
    }
    cases.push_back(adjacent);
  }
  cases.push_back({"two_long_rows", 24, 40, 19, 2, 1, 16, 2, 300, {}, [](ModelConfig& c) { c.windows = {70}; }});
  return cases;
}

// bf16 rounds each operand once. A key's bias cancels in the softmax but for its rotation, so its gradient is a
// difference of larger numbers.
double bfloat16_tolerance(const DecoderCase& c) { return config_of(c).qkv_bias ? 5e-2 : 2e-2; }

class DecoderBlock : public testing::TestWithParam<DecoderCase> {};

// Forward and backward of `run` against the oracle on the same (rounded) weights and inputs.
void expect_like_autograd(const DecoderCase& c, DType wire, DType compute, double tolerance) {
  SCOPED_TRACE(testing::Message() << c.name << " seed " << kSeed);
  DecoderRun run(c, wire, compute);
  const TestBatch batch(c, kSeed);
  LayerWeights weights(run.layouts[1], wire, kSeed);
  GuardedBytes input = planned(random_tensor(kSeed, 1, {c.rows * c.length, c.hidden}, 1.5), compute);
  GuardedBytes d_output = planned(random_tensor(kSeed, 2, {c.rows * c.length, c.hidden}, 1.0), compute);
  GuardedBytes gradient(run.layouts[1].slab_bytes(4));

  const std::vector<int64_t> shape = {c.rows * c.length, c.hidden};
  const at::Tensor x = values_of(input, compute, shape).requires_grad_();
  const at::Tensor expected = reference::block(run.config, weights.leaves, x, batch.view());
  expected.backward(values_of(d_output, compute, shape));

  run.forward(weights, input, batch);
  EXPECT_LE(relative_error(values_of(run.output, compute, shape), expected), tolerance);
  run.backward(weights, input, d_output, gradient.as<float>(), /*accumulate=*/false, batch);
  EXPECT_LE(relative_error(values_of(run.d_input, compute, shape), x.grad()), tolerance);
  weights.expect_gradients(gradient.as<float>(), tolerance);

  run.forward(weights, input, batch);
  run.backward(weights, input, d_output, gradient.as<float>(), /*accumulate=*/true, batch);
  weights.expect_gradients(gradient.as<float>(), tolerance, /*factor=*/2.0);
}

TEST_P(DecoderBlock, Float32MatchesAutograd) {
  expect_like_autograd(GetParam(), DType::kFloat32, DType::kFloat32, 1e-5);
}

TEST_P(DecoderBlock, RoundedWireWeightsInFloat32MatchAutograd) {
  expect_like_autograd(GetParam(), DType::kBFloat16, DType::kFloat32, 1e-5);
}

TEST_P(DecoderBlock, BFloat16MatchesAutogradWithinItsRounding) {
  expect_like_autograd(GetParam(), DType::kBFloat16, DType::kBFloat16, 2e-2);
}

TEST_P(DecoderBlock, Float32WireInBFloat16MatchesAutogradWithinItsRounding) {
  expect_like_autograd(GetParam(), DType::kFloat32, DType::kBFloat16, 2e-2);
}

// keep and recompute must not differ, and evaluation must see what training sees.
void expect_recompute_equals_forward(const DecoderCase& c) {
  SCOPED_TRACE(testing::Message() << c.name << " seed " << kSeed);
  for (const DType compute : {DType::kFloat32, DType::kBFloat16}) {
    DecoderRun run(c, DType::kBFloat16, compute);
    const TestBatch batch(c, kSeed);
    LayerWeights weights(run.layouts[1], DType::kBFloat16, kSeed);
    GuardedBytes input = planned(random_tensor(kSeed, 1, {c.rows * c.length, c.hidden}, 1.5), compute);
    run.forward(weights, input, batch);
    const std::vector<std::byte> kept(run.saved.span().begin(), run.saved.span().end());
    const std::vector<std::byte> output(run.output.span().begin(), run.output.span().end());

    std::memset(run.saved.span().data(), 0xff, run.saved.span().size());  // also the padding, which stays unwritten
    run.observed([&](std::span<std::byte> workspace) {
      run.decoder.recompute(0, weights.slab.span(), input.span(), run.saved.span(), workspace, batch.view());
    });
    EXPECT_TRUE(std::equal(kept.begin(), kept.end(), run.saved.span().begin()));

    std::memset(run.output.span().data(), 0xff, run.output.span().size());
    run.forward(weights, input, batch, /*keep=*/false);
    EXPECT_TRUE(std::equal(output.begin(), output.end(), run.output.span().begin()));
  }
}

TEST_P(DecoderBlock, RecomputeAndEvaluationEqualForwardBitForBit) { expect_recompute_equals_forward(GetParam()); }

TEST(DecoderBlockSwitches, Float32MatchesAutograd) {
  for (const DecoderCase& c : switched_cases()) expect_like_autograd(c, DType::kFloat32, DType::kFloat32, 1e-5);
}

TEST(DecoderBlockSwitches, RoundedWireWeightsInFloat32MatchAutograd) {
  for (const DecoderCase& c : switched_cases()) expect_like_autograd(c, DType::kBFloat16, DType::kFloat32, 1e-5);
}

TEST(DecoderBlockSwitches, BFloat16MatchesAutogradWithinItsRounding) {
  for (const DecoderCase& c : switched_cases()) {
    expect_like_autograd(c, DType::kBFloat16, DType::kBFloat16, bfloat16_tolerance(c));
  }
}

TEST(DecoderBlockSwitches, RecomputeAndEvaluationEqualForwardBitForBit) {
  for (const DecoderCase& c : switched_cases()) expect_recompute_equals_forward(c);
}

// A smaller last batch uses the same plan.
TEST_P(DecoderBlock, FewerRowsThanPlannedGiveTheSameRows) {
  DecoderCase c = GetParam();
  DecoderCase wide = c;
  wide.rows += 2;
  DecoderRun exact(c, DType::kFloat32, DType::kFloat32), planned_wide(wide, DType::kFloat32, DType::kFloat32);
  const TestBatch batch(c, kSeed);
  LayerWeights weights(exact.layouts[1], DType::kFloat32, kSeed);
  GuardedBytes input = planned(random_tensor(kSeed, 1, {c.rows * c.length, c.hidden}, 1.5), DType::kFloat32);
  exact.forward(weights, input, batch);
  planned_wide.forward(weights, input, batch);
  EXPECT_TRUE(std::equal(exact.output.span().begin(), exact.output.span().end(), planned_wide.output.span().begin()));
}

// The fused kernels must not let one document see another: changing the first leaves the second's output alone.
TEST(DecoderBlockSegments, TokensOfOneSegmentDoNotReachAnother) {
  const DecoderCase& c = odd_cases()[1];
  DecoderRun run(c, DType::kFloat32, DType::kFloat32);
  const TestBatch batch(c, kSeed);
  LayerWeights weights(run.layouts[1], DType::kFloat32, kSeed);
  const at::Tensor values = random_tensor(kSeed, 1, {c.rows * c.length, c.hidden}, 1.5);
  GuardedBytes input = planned(values, DType::kFloat32);
  run.forward(weights, input, batch);
  const at::Tensor before = values_of(run.output, DType::kFloat32, {c.rows * c.length, c.hidden});
  at::Tensor changed = values.clone();
  changed.narrow(0, 5, 12).add_(1.0);  // segment [5, 17)
  GuardedBytes changed_input = planned(changed, DType::kFloat32);
  run.forward(weights, changed_input, batch);
  const at::Tensor after = values_of(run.output, DType::kFloat32, {c.rows * c.length, c.hidden});
  EXPECT_TRUE(at::equal(before.narrow(0, 0, 5), after.narrow(0, 0, 5)));
  EXPECT_TRUE(at::equal(before.narrow(0, 17, 46), after.narrow(0, 17, 46)));
  EXPECT_FALSE(at::equal(before.narrow(0, 5, 12), after.narrow(0, 5, 12)));
}

INSTANTIATE_TEST_SUITE_P(OddShapes, DecoderBlock, testing::ValuesIn(odd_cases()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace penstock
