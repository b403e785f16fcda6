// Whole training steps on a card: the invariances of every device, and every family against the host device.
#include <cmath>

#include "core/cuda/cuda_device.h"
#include "core/cuda/linked_runtime.h"
#include "gpu_test.h"
#include "invariance_suite.h"
#include "model/cuda_numerics.h"

namespace penstock {
namespace {

Platform card(PinMode pin = PinMode::kAll) {
  prepare_cuda_environment();
  Platform platform{.backend = Backend::kCuda, .make_device = [pin] {
                      return std::make_unique<CudaDevice>(*linked_cuda_runtime(), CudaDeviceOptions{.pin = pin});
                    }};
  if (!gpu_is_there()) platform.missing = "no CUDA device: this GPU test was not run";
  return platform;
}

INSTANTIATE_TEST_SUITE_P(Card, Invariance, testing::ValuesIn(invariance_cases(card())), invariance_case_name);

double relative_difference(std::span<const std::byte> a, std::span<const std::byte> b, size_t count) {
  const auto* x = reinterpret_cast<const float*>(a.data());
  const auto* y = reinterpret_cast<const float*>(b.data());
  double difference = 0, norm = 0;
  for (size_t i = 0; i < count; ++i) {
    difference += (x[i] - y[i]) * static_cast<double>(x[i] - y[i]);
    norm += y[i] * static_cast<double>(y[i]);
  }
  return norm == 0 ? std::sqrt(difference) : std::sqrt(difference / norm);
}

class CardFamilies : public testing::TestWithParam<const char*> {};

TEST_P(CardFamilies, LossAndGradientsAreTheHostDevicesInFloat32) {
  PENSTOCK_REQUIRE_GPU();
  for (const int parts : {1, 3}) {
    TinySettings settings;
    settings.family = GetParam();
    settings.head_parts = parts;
    TinyRun on_host(settings);
    settings.platform = card();
    TinyRun on_card(settings);
    const StepReport expected = on_host.step(0), actual = on_card.step(0);
    EXPECT_NEAR(actual.loss, expected.loss, 1e-5 * expected.loss);
    for (int layer = 0; layer < on_host.memory().layer_count(); ++layer) {
      const LayerLayout& layout = on_host.memory().layouts()[static_cast<size_t>(layer)];
      if (!layout.trains()) continue;
      const double difference = relative_difference(on_card.engine().host_bytes(BufferKind::kHostGradient, layer),
                                                    on_host.engine().host_bytes(BufferKind::kHostGradient, layer),
                                                    layout.trainable_elements());
      EXPECT_LT(difference, 1e-4) << "layer " << layer << ", " << parts << " parts of the head";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, CardFamilies, testing::Values("llama", "mistral", "qwen2", "qwen3", "smollm3"),
                         [](const auto& family) { return std::string(family.param); });

// How host memory is pinned moves bytes another way, and changes none.
TEST(CardPinning, EveryModeGivesTheSameBits) {
  PENSTOCK_REQUIRE_GPU();
  TinySettings settings;
  settings.format = StateFormat::kExact;
  settings.compute = DType::kBFloat16;
  settings.platform = card();
  TinyRun reference(settings);
  const std::vector<double> losses = reference.losses(0, 4);
  const std::vector<std::byte> state = reference.state();
  for (const PinMode mode : {PinMode::kTransfers, PinMode::kStaged}) {
    settings.platform = card(mode);
    TinyRun other(settings);
    EXPECT_EQ(other.losses(0, 4), losses) << pin_mode_name(mode);
    EXPECT_TRUE(other.state() == state) << pin_mode_name(mode);
  }
}

// bf16 compute on the card, whose weight gradients sum in fp32, stays within 1% of the fp32 host run.
TEST(CardTraining, BFloat16FollowsTheFloat32HostRun) {
  PENSTOCK_REQUIRE_GPU();
  TinySettings settings;
  settings.format = StateFormat::kExact;
  settings.learning_rate = 1e-3;
  const std::vector<double> expected = TinyRun(settings).losses(0, 20);
  settings.platform = card();
  settings.compute = DType::kBFloat16;
  const std::vector<double> actual = TinyRun(settings).losses(0, 20);
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(actual[i], expected[i], 0.01 * expected[i]) << "step " << i;
}

// What a training step takes of the device, by LibTorch and by us, after two steps of a model of so many blocks.
struct DeviceBytes {
  uint64_t measured, planned, activations;
};
DeviceBytes device_bytes(int blocks) {
  TinySettings settings;
  settings.blocks = blocks;
  settings.length = 256;
  settings.activations.assign(static_cast<size_t>(blocks), ActivationPolicy::kRecompute);
  settings.platform = card();
  CudaDevice* device = nullptr;
  const auto make_device = settings.platform.make_device;
  settings.platform.make_device = [&] {
    auto made = make_device();
    device = dynamic_cast<CudaDevice*>(made.get());
    return made;
  };
  TinyRun run(settings);
  run.losses(0, 2);
  const MemoryUse use = device->memory_use();
  const MemoryPlan plan = memory_plan(tiny_plan(settings), 0);
  DeviceBytes bytes{use.arena_bytes + use.temporary_peak_bytes, plan.device_bytes(), 0};
  for (const MemoryClass& entry : plan.device) bytes.activations += entry.name == "activations" ? entry.bytes : 0;
  return bytes;
}

// But for the inputs of its blocks, which backward needs, a deep model takes what a shallow one does.
TEST(CardMemory, PeakIsThePlansAndDepthIsFlat) {
  PENSTOCK_REQUIRE_GPU();
  const DeviceBytes shallow = device_bytes(20), deep = device_bytes(200);
  for (const DeviceBytes& bytes : {shallow, deep}) {
    EXPECT_NEAR(static_cast<double>(bytes.measured), static_cast<double>(bytes.planned),
                0.03 * static_cast<double>(bytes.planned));
  }
  // Each activation begins on a page.
  EXPECT_NEAR(static_cast<double>(deep.measured - deep.activations),
              static_cast<double>(shallow.measured - shallow.activations), 4096.0 * 4 * 200);
}

}  // namespace
}  // namespace penstock
