// The CUDA device on a real card: the suite of all devices in every pinning mode, and what only a card can show.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <future>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../core/device_suite.h"
#include "core/cuda/cuda_device.h"
#include "core/cuda/linked_runtime.h"
#include "core/error.h"
#include "core/trace.h"
#include "gpu_test.h"

namespace penstock {
namespace {

// A host function in the stream that waits for the test.
class StreamGate final : public LaneGate {
 public:
  explicit StreamGate(void* stream) {
    const auto wait_until_open = [](void* gate) { static_cast<std::promise<void>*>(gate)->get_future().wait(); };
    EXPECT_EQ(cudaLaunchHostFunc(static_cast<cudaStream_t>(stream), wait_until_open, &opened_), cudaSuccess);
    stream_ = static_cast<cudaStream_t>(stream);
  }
  ~StreamGate() override {
    open();
    cudaStreamSynchronize(stream_);  // the function uses this object
  }
  void open() override {
    if (!std::exchange(is_open_, true)) opened_.set_value();
  }

 private:
  std::promise<void> opened_;
  cudaStream_t stream_ = nullptr;
  bool is_open_ = false;
};

DeviceUnderTest card_under_test(std::string name, CudaDeviceOptions options) {
  return {.name = std::move(name),
          .make_device =
              [options](uint64_t budget_bytes) {
                CudaDeviceOptions budgeted = options;
                budgeted.budget_bytes = budget_bytes;
                return std::make_unique<CudaDevice>(*linked_cuda_runtime(), budgeted);
              },
          .hold_lane =
              [](Device& device, LaneKind lane) {
                return std::make_unique<StreamGate>(dynamic_cast<CudaDevice&>(device).stream(lane));
              },
          .require = [] { PENSTOCK_REQUIRE_GPU(); }};
}

const StagingOptions kSmallRing{.slot_bytes = 2048, .slots = 8};

INSTANTIATE_TEST_SUITE_P(
    Cuda, DeviceSuite,
    testing::Values(card_under_test("Pinned", {}),
                    card_under_test("PinnedInPieces", {.copy_piece_bytes = 1000, .pin_piece_bytes = 8192}),
                    card_under_test("Transfers", {.pin = PinMode::kTransfers, .staging = kSmallRing}),
                    card_under_test("Staged", {.pin = PinMode::kStaged, .staging = kSmallRing})),
    [](const auto& under_test) { return under_test.param.name; });

class CudaCard : public testing::Test {
 protected:
  void SetUp() override { PENSTOCK_REQUIRE_GPU(); }
};

TEST_F(CudaCard, LargeCopiesCarryEveryByteInEveryMode) {
  constexpr uint64_t kHostBytes = 600 * kMiB + 12345;
  Arena arena("host", kHostBytes);
  const std::span<std::byte> host = arena.allocate(kHostBytes);
  for (const PinMode pin : {PinMode::kAll, PinMode::kStaged}) {
    CudaDevice device(*linked_cuda_runtime(), {.pin = pin, .pin_piece_bytes = 256 * kMiB});
    const auto registration = device.register_host(std::vector<HostRegion>{{host, HostUse::kTransfers}});
    const std::span<std::byte> memory = device.allocate("slab", kHostBytes);
    auto* words = reinterpret_cast<uint32_t*>(host.data());
    for (uint64_t i = 0; i < kHostBytes / 4; ++i) words[i] = static_cast<uint32_t>(i * 2654435761u);
    device.copy(LaneKind::kFetch, memory, host);
    device.synchronize_all();
    std::ranges::fill(host, std::byte{0});
    device.copy(LaneKind::kOffload, host, memory);
    device.synchronize_all();
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < kHostBytes / 4; ++i) wrong += words[i] != static_cast<uint32_t>(i * 2654435761u);
    EXPECT_EQ(wrong, 0u) << pin_mode_name(pin);
    std::cout << device.description() << "\n";
  }
}

TEST_F(CudaCard, OutOfMemoryIsNotTheDevicesEnd) {
  CudaDevice first(*linked_cuda_runtime(), {});
  CudaDevice second(*linked_cuda_runtime(), {});
  const uint64_t budget_bytes = second.memory_use().budget_bytes;
  ASSERT_GT(budget_bytes, 2 * kGiB);
  first.allocate("nearly all", first.memory_use().budget_bytes);
  try {
    second.allocate("slots", budget_bytes);
    ADD_FAILURE() << "not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kDoesNotFit) << error.what();
  }
  const std::span<std::byte> memory = second.allocate("little", 1000);
  second.fill(LaneKind::kCompute, memory, std::byte{1});
  second.synchronize_all();
}

// A queue of fills takes at least what the card's memory allows, and the clock must show it.
TEST_F(CudaCard, TimesAreThoseOfTheCard) {
  CudaDevice device(*linked_cuda_runtime(), {});
  const std::span<std::byte> memory = device.allocate("slab", kGiB);
  const auto begin = device.create_timing_event(), end = device.create_timing_event();
  device.record(LaneKind::kCompute, *begin);
  for (int i = 0; i < 20; ++i) device.fill(LaneKind::kCompute, memory, std::byte{1});
  device.record(LaneKind::kCompute, *end);
  const int64_t queued_ns = TraceRecorder::now_ns();
  const int64_t duration_ns = device.time_ns(*end) - device.time_ns(*begin);
  EXPECT_GT(duration_ns, 1'000'000) << "20 GiB in 1 ms would be 21 TB/s";
  EXPECT_GT(device.time_ns(*end), queued_ns - 1'000'000);
  EXPECT_LE(device.time_ns(*end), TraceRecorder::now_ns() + 1'000'000);
}

TEST_F(CudaCard, ADeviceIndexThatIsNotThereIsRefused) {
  EXPECT_THROW(CudaDevice(*linked_cuda_runtime(), {.index = 4096}), Error);
}

}  // namespace
}  // namespace penstock
