// Whole training steps over the very CudaDevice and Executor, on the fake runtime: copies, pinning and events are those
// of a card, the arithmetic is the host's. Whatever legal order the streams take, no bit may differ from the host
// device.
#include <gtest/gtest.h>

#include "core/error.h"
#include "fake_cuda_device.h"
#include "model/cuda/emulated_kernel_set.h"
#include "model/cuda_maths.h"
#include "model/host_maths.h"
#include "tiny_run.h"

namespace penstock {
namespace {

constexpr int64_t kSteps = 4;

Outcome run(const TinySettings& settings) { return run_steps(settings, kSteps); }

// Small pieces and a small ring, so that every slab crosses borders.
CudaDeviceOptions small_pieces(PinMode mode) {
  return {.copy_piece_bytes = 3000,
          .pin = mode,
          .pin_piece_bytes = 8192,
          .staging = {.slot_bytes = 2048, .slots = 6, .copy_threads = 2}};
}

Platform fake_cuda(const FakeCudaOptions& fake, PinMode mode) {
  return {.make_device = [=] { return std::make_unique<FakeCudaDevice>(fake, small_pieces(mode)); },
          .make_maths = [](Device&) { return std::make_unique<HostMaths>(1); }};
}

TinySettings settings_of(const std::string& family, StateFormat format, int head_parts = 1) {
  TinySettings settings;
  settings.family = family;
  settings.format = format;
  settings.head_parts = head_parts;
  settings.blocks = 4;
  return settings;
}

class CudaEngine : public testing::TestWithParam<PinMode> {};

TEST_P(CudaEngine, AnyOrderOfTheStreamsGivesTheHostDevicesBits) {
  for (const auto& [family, parts] : {std::pair("llama", 1), std::pair("qwen2", 2)}) {
    TinySettings settings = settings_of(family, StateFormat::kExact, parts);
    const Outcome expected = run(settings);
    for (uint64_t seed = 1; seed <= 4; ++seed) {
      settings.platform = fake_cuda({.seed = seed}, GetParam());
      settings.prefetch_depth = 1 + static_cast<int>(seed % 3);
      settings.gradient_slots = 1 + static_cast<int>(seed % 2);
      const Outcome actual = run(settings);
      EXPECT_EQ(actual.losses, expected.losses) << family << ", seed " << seed;
      EXPECT_TRUE(actual.state == expected.state) << family << ", seed " << seed;
    }
  }
}

TEST_P(CudaEngine, StreamsThatReallyRunAtTheSameTimeDoToo) {
  TinySettings settings = settings_of("llama", StateFormat::kFloat32);
  const Outcome expected = run(settings);
  settings.platform = fake_cuda({.threaded = true}, GetParam());
  settings.engine.poisons_released_slots = true;
  settings.engine.traces = true;
  const Outcome actual = run(settings);
  EXPECT_EQ(actual.losses, expected.losses);
  EXPECT_TRUE(actual.state == expected.state);
}

TEST_P(CudaEngine, NothingIsLeftAndNothingIsCopiedFromPageableMemory) {
  TinySettings settings = settings_of("qwen2", StateFormat::kExact);
  std::unique_ptr<FakeCudaDevice> device;
  FakeCudaRuntime* runtime = nullptr;
  settings.platform = fake_cuda({.seed = 5}, GetParam());
  settings.platform.make_device = [&] {
    auto made = std::make_unique<FakeCudaDevice>(FakeCudaOptions{.seed = 5}, small_pieces(GetParam()));
    runtime = &made->runtime();
    return made;
  };
  TinyRun tiny(settings);
  tiny.losses(0, 2);
  EXPECT_GT(runtime->counts().copies, 100);
  EXPECT_EQ(runtime->counts().pageable_copies, 0);
}

// The device is lost at every stage of a step: an error with the device's exit code, no hang, and the state is that of
// the last decided step, its pending update included.
TEST_P(CudaEngine, ALostDeviceLeavesTheLastStepsState) {
  TinySettings settings = settings_of("llama", StateFormat::kExact);
  std::vector<std::vector<std::byte>> states;  // after 1 and after 2 steps
  for (const int64_t steps : {1, 2}) {
    TinyRun whole(settings);
    whole.losses(0, steps);
    states.push_back(whole.state());
  }
  int lost_steps = 0;
  for (int call = 1; call <= 250; call += 11) {
    FakeCudaRuntime* runtime = nullptr;
    settings.platform = fake_cuda({}, GetParam());
    settings.platform.make_device = [&] {
      auto made = std::make_unique<FakeCudaDevice>(FakeCudaOptions{.seed = 3}, small_pieces(GetParam()));
      runtime = &made->runtime();
      return made;
    };
    TinyRun tiny(settings);
    tiny.losses(0, 1);
    runtime->lose_device_at_call(call);
    bool is_lost = false;
    try {
      tiny.losses(1, 1);
    } catch (const Error& error) {
      is_lost = true;
      EXPECT_EQ(error.code(), ExitCode::kDevice) << "call " << call << ": " << error.what();
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    }
    lost_steps += is_lost ? 1 : 0;
    EXPECT_TRUE(tiny.state() == states[is_lost ? 0 : 1]) << "call " << call;
  }
  EXPECT_GT(lost_steps, 10) << "too few calls were hit for the test to mean something";
}

INSTANTIATE_TEST_SUITE_P(Pinning, CudaEngine, testing::Values(PinMode::kAll, PinMode::kTransfers, PinMode::kStaged),
                         [](const auto& mode) { return std::string(pin_mode_name(mode.param)); });

// The whole step in CUDA's arithmetic: plan, decoder and kernels as on a card, emulated.
TEST(CudaArithmetic, TrainsAsTheHostUpToRounding) {
  for (const char* family : {"llama", "qwen2", "qwen3", "smollm3", "mistral"}) {
    TinySettings settings = settings_of(family, StateFormat::kFloat32);
    settings.blocks = 2;
    settings.micro_batches = 2;
    const std::vector<double> expected = TinyRun(settings).losses(0, 3);
    settings.platform.backend = Backend::kCuda;
    settings.platform.make_maths = [](Device&) -> std::unique_ptr<Maths> {
      return std::make_unique<CudaMaths>(c10::kCPU, nullptr, make_emulated_kernel_set(32));
    };
    const std::vector<double> actual = TinyRun(settings).losses(0, 3);
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_NEAR(actual[i], expected[i], 1e-5 * expected[i]) << family << ", step " << i;
    }
  }
}

// Device memory does not grow with the model: slots, gradients and workspace are those of a shallow one. Training keeps
// the inputs of all blocks there, which are what grows.
TEST(CudaPlan, DeviceMemoryIsFlatInDepth) {
  const auto device_classes = [](int blocks, Purpose purpose) {
    TinySettings settings;
    settings.blocks = blocks;
    RunShape shape = tiny_plan(settings).shape;
    shape.backend = Backend::kCuda;
    StepSettings step{.purpose = purpose, .prefetch_depth = 2};
    if (purpose == Purpose::kTrain) {
      step.activations.assign(static_cast<size_t>(blocks), ActivationPolicy::kRecompute);
    }
    return memory_plan(plan_run(shape, step), 0).device;
  };
  for (const Purpose purpose : {Purpose::kEval, Purpose::kTrain}) {
    const std::vector<MemoryClass> shallow = device_classes(20, purpose), deep = device_classes(200, purpose);
    ASSERT_EQ(shallow.size(), deep.size());
    for (size_t i = 0; i < shallow.size(); ++i) {
      EXPECT_EQ(shallow[i].name, deep[i].name);
      if (purpose == Purpose::kTrain && shallow[i].name == "activations") continue;
      EXPECT_EQ(shallow[i].bytes, deep[i].bytes) << shallow[i].name;
    }
  }
}

}  // namespace
}  // namespace penstock
