#include "invariance_suite.h"

#include <unistd.h>

#include <filesystem>

#include "streaming/checkpoint.h"

namespace penstock {
namespace {

constexpr int64_t kSteps = 6;

Outcome run(const TinySettings& settings) { return run_steps(settings, kSteps); }

void expect_same(const Outcome& expected, const TinySettings& settings, const std::string& what) {
  const Outcome actual = run(settings);
  EXPECT_EQ(actual.losses, expected.losses) << what;
  EXPECT_TRUE(actual.state == expected.state) << what << ": final weights or state differ";
}

}  // namespace

std::vector<InvarianceCase> invariance_cases(const Platform& platform) {
  const StateFormat exact = StateFormat::kExact, float32 = StateFormat::kFloat32, compact = StateFormat::kCompact,
                    compact8 = StateFormat::kCompact8;
  std::vector<InvarianceCase> cases{
      {float32, DType::kFloat32},
      {exact, DType::kFloat32},
      {exact, DType::kBFloat16},
      {float32, DType::kFloat32, "mistral"},
      {exact, DType::kBFloat16, "qwen2"},
      {exact, DType::kBFloat16, "qwen3"},
      {float32, DType::kFloat32, "smollm3"},
      {exact, DType::kBFloat16, "mistral", 3},
      {exact, DType::kFloat32, "smollm3", 4},
      {exact, DType::kBFloat16, "qwen3", 2, {"*.layers.3.*", "*.layers.1.self_attn.?_proj.*"}},
      {float32, DType::kFloat32, "qwen2", 1, {"*norm*", "*bias"}},
      {exact, DType::kFloat32, "qwen2", 2, {"model.embed_tokens.weight"}},
      {compact, DType::kBFloat16},
      {compact8, DType::kFloat32, "qwen2"},
      {compact8, DType::kBFloat16, "smollm3", 3, {"*.layers.3.*", "model.embed_tokens.weight"}}};
  for (InvarianceCase& entry : cases) entry.platform = platform;
  return cases;
}

std::string invariance_case_name(const testing::TestParamInfo<InvarianceCase>& info) {
  const InvarianceCase& param = info.param;
  std::string name =
      param.family + "_" + std::string(state_format_name(param.format)) + "_" + std::string(dtype_name(param.compute));
  if (param.head_parts > 1) name += "_parts" + std::to_string(param.head_parts);
  if (!param.trainable.empty()) name += "_frozen";
  return name;
}

TinySettings Invariance::base() const {
  TinySettings settings;
  settings.platform = GetParam().platform;
  settings.format = GetParam().format;
  settings.compute = GetParam().compute;
  settings.family = GetParam().family;
  settings.head_parts = GetParam().head_parts;
  settings.trainable = GetParam().trainable;
  return settings;
}

TEST_P(Invariance, ReferenceTrains) {
  TinyRun tiny(base());
  std::vector<double> losses;
  for (int64_t step = 0; step < kSteps; ++step) losses.push_back(tiny.step(0).loss);  // one batch, over and over
  EXPECT_LT(losses.back(), losses.front());
}

TEST_P(Invariance, PrefetchDepthAndGradientSlots) {
  const Outcome expected = run(base());
  for (int depth : {1, 2, 3, 7}) {
    for (int slots : {1, 2, 5}) {
      TinySettings settings = base();
      settings.prefetch_depth = depth;
      settings.gradient_slots = slots;
      expect_same(expected, settings, "depth " + std::to_string(depth) + ", slots " + std::to_string(slots));
    }
  }
}

TEST_P(Invariance, PiecesOfUpdates) {
  TinySettings settings = base();
  settings.blocks = 2;
  settings.intermediate_size = 5000;  // several fixed blocks a tensor
  settings.trainable.clear();         // the patterns name other blocks
  const Outcome expected = run(settings);
  for (const uint64_t bytes : {uint64_t{300'000}, kUpdatePieceBytes}) {
    settings.update_piece_bytes = bytes;
    expect_same(expected, settings, "pieces of " + std::to_string(bytes) + " bytes");
  }
}

TEST_P(Invariance, KeepAndRecompute) {
  const Outcome expected = run(base());
  for (unsigned mask : {0u, 0b00001u, 0b10110u, 0b01111u}) {
    TinySettings settings = base();
    for (int block = 0; block < settings.blocks; ++block) {
      settings.activations.push_back((mask >> block & 1u) != 0 ? ActivationPolicy::kKeep
                                                               : ActivationPolicy::kRecompute);
    }
    expect_same(expected, settings, "keep mask " + std::to_string(mask));
  }
}

TEST_P(Invariance, ListOrderAndRandomLegalOrders) {
  const Outcome expected = run(base());
  TinySettings settings = base();
  settings.engine.order = IssueOrder::kList;
  expect_same(expected, settings, "list order");
  settings.engine.order = IssueOrder::kRandom;
  for (uint64_t seed : {1u, 2u, 3u, 4u}) {
    settings.engine.order_seed = seed;
    settings.prefetch_depth = 1 + static_cast<int>(seed % 3);
    expect_same(expected, settings, "random order, seed " + std::to_string(seed));
  }
}

// The feed-forward tensors are larger than the optimizer's block, so that one tensor is split between threads.
TEST_P(Invariance, OptimizerThreads) {
  TinySettings settings = base();
  settings.blocks = 2;
  settings.intermediate_size = 5000;
  const Outcome expected = run(settings);
  for (int threads : {2, 3}) {
    settings.engine.optimizer_threads = threads;
    expect_same(expected, settings, std::to_string(threads) + " optimizer threads");
  }
}

TEST_P(Invariance, SlotsArePoisonedAfterTheirLastReader) {
  const Outcome expected = run(base());
  TinySettings settings = base();
  settings.engine.poisons_released_slots = true;
  for (int depth : {1, 2, 6}) {
    settings.prefetch_depth = depth;
    expect_same(expected, settings, "poisoned, depth " + std::to_string(depth));
  }
}

TEST_P(Invariance, OneBlockAndOneMicroBatch) {
  TinySettings settings = base();
  settings.blocks = 1;
  settings.micro_batches = 1;
  settings.trainable.clear();  // the patterns name other blocks
  const Outcome expected = run(settings);
  settings.prefetch_depth = 4;
  settings.activations = {ActivationPolicy::kRecompute};
  expect_same(expected, settings, "one block, recompute");
  settings.engine.order = IssueOrder::kRandom;
  expect_same(expected, settings, "one block, random order");
}

TEST_P(Invariance, EagerEqualsDeferredWithoutClipping) {
  TinySettings settings = base();
  settings.max_grad_norm = 0;
  const Outcome expected = run(settings);
  settings.update = UpdateMode::kEager;
  for (int slots : {1, 2, 3}) {
    settings.gradient_slots = slots;
    expect_same(expected, settings, "eager, slots " + std::to_string(slots));
  }
}

TEST_P(Invariance, ResumeFromACheckpoint) {
  const Outcome expected = run(base());
  const std::filesystem::path folder =
      std::filesystem::path(testing::TempDir()) / ("resume-test-" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  for (const int64_t stop : {1, 4}) {
    TinyRun first(base());
    Outcome actual{first.losses(0, stop), {}};
    first.trainer().drain();
    const auto saved = save_checkpoint(folder, first.memory(), {.progress = first.trainer().progress()});
    TinySettings deeper = base();
    deeper.prefetch_depth = 3;
    TinyRun second(deeper);
    second.trainer().restore(load_checkpoint(saved, second.memory()).progress);
    for (const double loss : second.losses(stop, kSteps - stop)) actual.losses.push_back(loss);
    EXPECT_EQ(actual.losses, expected.losses) << "stopped after " << stop;
    EXPECT_TRUE(second.state() == expected.state) << "stopped after " << stop;
  }
  std::filesystem::remove_all(folder);
}

TEST_P(Invariance, EvaluationBetweenStepsChangesNothing) {
  const Outcome expected = run(base());
  TinyRun tiny(base());
  Outcome actual;
  for (int64_t step = 0; step < kSteps; ++step) {
    actual.losses.push_back(tiny.step(step).loss);
    const StepBatch held_out = tiny_step(base(), 900);
    const LossSums sums = tiny.trainer().evaluate(held_out.micro_batches);
    EXPECT_GT(sums.loss_sum, 0);
  }
  actual.state = tiny.state();
  EXPECT_EQ(actual.losses, expected.losses);
  EXPECT_TRUE(actual.state == expected.state);
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Invariance);

}  // namespace penstock
