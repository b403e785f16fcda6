// Costs from a probe against arithmetic by hand.
#include "app/predicted_step.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "probe_profile.h"

namespace penstock {
namespace {

constexpr int64_t kVocab = 512, kHidden = 64, kFfn = 128, kBlocks = 2, kHeads = 2, kRows = 2, kLength = 8;
constexpr double kTokens = kRows * kLength;
constexpr double kHeadParameters = kVocab * kHidden;
// q, k, v and o; gate, up and down; two norms. The final norm counts among the blocks.
constexpr double kBlockParameters =
    4 * kHidden * kHidden + 3 * kHidden * kFfn + 2 * kHidden + static_cast<double>(kHidden) / kBlocks;

RunSetup tiny_setup() {
  RunSetup setup;
  setup.model.vocab_size = kVocab;
  setup.model.hidden_size = kHidden;
  setup.model.intermediate_size = kFfn;
  setup.model.num_hidden_layers = kBlocks;
  setup.model.num_attention_heads = setup.model.num_key_value_heads = kHeads;
  setup.model.head_dim = kHidden / kHeads;
  setup.config.training.per_device_train_batch_size = kRows;
  setup.config.dataset.max_seq_len = kLength;
  setup.optimizer_threads = 2;
  setup.compute_threads = made_up_profile().compute_threads;
  return setup;
}

RunPlan plan_of(const RunSetup& setup) {
  return plan_run(training_shape(setup), step_settings(setup, Purpose::kTrain));
}

TEST(MovedBytes, AreThoseOfTheDesign) {
  EXPECT_EQ(moved_bytes_per_parameter(StateFormat::kExact), 26);
  EXPECT_EQ(moved_bytes_per_parameter(StateFormat::kFloat32), 28);
  EXPECT_EQ(moved_bytes_per_parameter(StateFormat::kCompact), 14);
  EXPECT_EQ(moved_bytes_per_parameter(StateFormat::kCompact8), 10.125);
  EXPECT_EQ(kept_bytes_per_parameter(StateFormat::kExact), 12);
}

TEST(BreakEven, ByHand) {
  // 165 TFLOP/s and 70 GB/s: the "about 30k on a 4090 with dual-channel DDR5" of the design.
  EXPECT_NEAR(break_even_tokens(StateFormat::kExact, UpdateMode::kDeferred, 165e12, 70e9), 30643, 1);
  EXPECT_EQ(break_even_tokens(StateFormat::kCompact, UpdateMode::kDeferred, 1e12, 50e9), 140);
  EXPECT_NEAR(break_even_tokens(StateFormat::kExact, UpdateMode::kEager, 165e12, 70e9), 10214, 1);
}

TEST(HostRate, IsThatOfTheThreads) {
  const StreamRates stream{.in_place = {{1, 40}, {2, 50}, {8, 60}}};
  EXPECT_EQ(host_bytes_per_second(stream, 1), 40e9);
  EXPECT_EQ(host_bytes_per_second(stream, 2), 50e9);
  EXPECT_EQ(host_bytes_per_second(stream, 7), 50e9);
  EXPECT_EQ(host_bytes_per_second(stream, 99), 60e9);
  EXPECT_EQ(host_bytes_per_second({.in_place = {{4, 55}}}, 1), 55e9);
}

TEST(ProfileCosts, ByHand) {
  const RunSetup setup = tiny_setup();
  const CostModel costs = profile_costs(setup, made_up_profile());
  const double rate = 0.25e12;
  EXPECT_DOUBLE_EQ(costs.forward_seconds, 2 * kTokens * kBlockParameters / rate);
  EXPECT_DOUBLE_EQ(costs.backward_seconds, 4 * kTokens * kBlockParameters / rate);
  EXPECT_DOUBLE_EQ(costs.recompute_seconds, costs.forward_seconds);
  EXPECT_DOUBLE_EQ(costs.loss_seconds, 6 * kTokens * kHeadParameters / rate);
  EXPECT_EQ(costs.h2d_bytes_per_second, 10e9);
  EXPECT_EQ(costs.d2h_bytes_per_second, 8e9);
  EXPECT_EQ(costs.host_bytes_per_second, 50e9);
  EXPECT_DOUBLE_EQ(costs.copy_latency_seconds, 2e-6);
}

TEST(ProfileCosts, FollowTheComputeType) {
  RunSetup setup = tiny_setup();
  setup.compute = DType::kBFloat16;
  EXPECT_DOUBLE_EQ(profile_costs(setup, made_up_profile()).forward_seconds, 2 * kTokens * kBlockParameters / 1e12);
}

TEST(ProfileCosts, FollowTheComputeThreads) {
  RunSetup setup = tiny_setup();
  const double seconds = profile_costs(setup, made_up_profile()).forward_seconds;
  setup.compute_threads = 1;  // the probe had 4
  EXPECT_DOUBLE_EQ(profile_costs(setup, made_up_profile()).forward_seconds, 4 * seconds);
  setup.compute_threads = 8;
  EXPECT_DOUBLE_EQ(profile_costs(setup, made_up_profile()).forward_seconds, seconds) << "there are no more CPUs";
  setup.compute_threads = 1;
  setup.device.backend = Backend::kCuda;
  EXPECT_DOUBLE_EQ(profile_costs(setup, made_up_profile()).forward_seconds, seconds) << "a card takes no threads";
}

TEST(ProfileCosts, TheEmulatedDeviceIsAsConfigured) {
  RunSetup setup = tiny_setup();
  setup.config.device.h2d_gbps = 3;
  setup.config.device.d2h_gbps = 4;
  setup.config.device.latency_us = 7;
  setup.config.device.compute = ComputeMode::kPaced;
  setup.config.device.paced_tflops = 2;
  const CostModel costs = profile_costs(setup, made_up_profile());
  EXPECT_EQ(costs.h2d_bytes_per_second, 3e9);
  EXPECT_EQ(costs.d2h_bytes_per_second, 4e9);
  EXPECT_DOUBLE_EQ(costs.copy_latency_seconds, 7e-6);
  EXPECT_DOUBLE_EQ(costs.forward_seconds, 2 * kTokens * kBlockParameters / 2e12);
  setup.device.backend = Backend::kCuda;  // keys of the emulated device only
  EXPECT_EQ(profile_costs(setup, made_up_profile()).h2d_bytes_per_second, 10e9);
}

TEST(PredictedStep, BoundByComputeIsTheSumOfTheProducts) {
  const RunSetup setup = tiny_setup();
  MachineProfile profile = made_up_profile();
  profile.gemm = {{.dtype = DType::kFloat32, .size = 256, .tflops = 1e-6}};  // 1 MFLOP/s: all else vanishes
  const PredictedStep step = predict_step(setup, plan_of(setup), profile);
  const double products = 6 * kTokens * (kBlocks * kBlockParameters + kHeadParameters) / 1e6;
  EXPECT_NEAR(step.step_seconds, products, 0.01 * products);
  EXPECT_EQ(step.tokens, kTokens);
  EXPECT_DOUBLE_EQ(step.tokens_per_second, kTokens / step.step_seconds);
  EXPECT_LT(step.exposed_seconds[static_cast<size_t>(LaneKind::kHost)], 0.01 * products);
  EXPECT_DOUBLE_EQ(step.break_even_tokens, 13 * 1e6 / 50e9);
}

TEST(PredictedStep, BoundByTheHostIsTheOptimizersBytes) {
  const RunSetup setup = tiny_setup();
  MachineProfile profile = made_up_profile();
  profile.stream.in_place = {{.threads = 1, .gbps = 1e-3}};  // 1 MB/s
  const PredictedStep step = predict_step(setup, plan_of(setup), profile);
  const double bytes = 26 * (kBlocks * kBlockParameters + 2 * kHeadParameters);
  EXPECT_NEAR(step.optimizer_seconds, bytes / 1e6, 0.03 * bytes / 1e6);  // padding, and which rows were touched
  EXPECT_GE(step.step_seconds, step.optimizer_seconds);
  EXPECT_GT(step.exposed_seconds[static_cast<size_t>(LaneKind::kHost)], 0.9 * step.optimizer_seconds);
}

TEST(PredictedStep, TheEagerUpdateHidesUnderAThirdOfTheTokens) {
  RunSetup setup = tiny_setup();
  const double deferred = predict_step(setup, plan_of(setup), made_up_profile()).break_even_tokens;
  setup.config.optimizer.update = UpdateMode::kEager;
  EXPECT_DOUBLE_EQ(predict_step(setup, plan_of(setup), made_up_profile()).break_even_tokens, deferred / 3);
}

TEST(PredictedStep, AsText) {
  const PredictedStep step{.step_seconds = 0.5,
                           .tokens_per_second = 16384,
                           .optimizer_seconds = 0.125,
                           .break_even_tokens = 30643,
                           .tokens = 8192,
                           .exposed_seconds = {0.001, 0, 0.002, 0.004}};
  EXPECT_EQ(format_prediction(step),
            "predicted from the saved probe (products alone): 500 ms a step of 8.19k tokens, 16.4k tok/s\n"
            "  exposed: fetch 1 ms, offload 2 ms, host 4 ms; the optimizer takes 125 ms\n"
            "  the optimizer hides from about 30.6k tokens a step on");
  PredictedStep slow = step;
  slow.step_seconds = 1720;
  slow.optimizer_seconds = 1.5;
  EXPECT_THAT(format_prediction(slow), testing::HasSubstr(" 28m40s a step"));
  EXPECT_THAT(format_prediction(slow), testing::HasSubstr("the optimizer takes 1.5 s"));
}

}  // namespace
}  // namespace penstock
