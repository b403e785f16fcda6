// The very CudaDevice through the suite of all devices, on the fake runtime: several orders, pinned and staged.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/cuda/cuda_device.h"
#include "device_suite.h"
#include "fake_cuda_runtime.h"

namespace penstock {
namespace {

DeviceUnderTest cuda_under_test(std::string name, FakeCudaOptions fake, CudaDeviceOptions options) {
  const auto runtime = std::make_shared<std::unique_ptr<FakeCudaRuntime>>();
  options.index = 1;  // never the device that threads have by default
  options.reserve_bytes = kMiB;
  return {.name = std::move(name),
          .make_device =
              [=](uint64_t budget_bytes) {
                *runtime = std::make_unique<FakeCudaRuntime>(fake);
                CudaDeviceOptions budgeted = options;
                budgeted.budget_bytes = budget_bytes;
                return std::make_unique<CudaDevice>(**runtime, budgeted);
              },
          .hold_lane =
              [=](Device& device, LaneKind lane) {
                void* stream = dynamic_cast<CudaDevice&>(device).stream(lane);
                return (*runtime)->hold(static_cast<RawStream*>(stream));
              },
          .check_after_end =
              [=] {
                EXPECT_EQ((*runtime)->leaks(), "") << "seed " << fake.seed;
                EXPECT_EQ((*runtime)->counts().pageable_copies, 0);
                runtime->reset();
              }};
}

std::vector<DeviceUnderTest> all_under_test() {
  // Small enough that every copy of the suite crosses borders, or takes several slots.
  const CudaDeviceOptions pinned{.copy_piece_bytes = 1000, .pin = PinMode::kAll, .pin_piece_bytes = 8192};
  const CudaDeviceOptions transfers{.copy_piece_bytes = 3000,
                                    .pin = PinMode::kTransfers,
                                    .pin_piece_bytes = 4096,
                                    .staging = {.slot_bytes = 1024, .slots = 16}};
  const CudaDeviceOptions staged{.pin = PinMode::kStaged, .staging = {.slot_bytes = 2048, .slots = 8}};
  const CudaDeviceOptions one_thread{.pin = PinMode::kStaged,
                                     .staging = {.slot_bytes = 8192, .slots = 4, .copy_threads = 1}};
  std::vector<DeviceUnderTest> all;
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    const std::string suffix = std::to_string(seed);
    all.push_back(cuda_under_test("PinnedSeed" + suffix, {.seed = seed}, pinned));
    all.push_back(cuda_under_test("StagedSeed" + suffix, {.seed = seed}, staged));
  }
  all.push_back(cuda_under_test("WholePieces", {.seed = 9}, {}));
  all.push_back(cuda_under_test("PinnedThreads", {.threaded = true}, pinned));
  all.push_back(cuda_under_test("TransfersThreads", {.threaded = true}, transfers));
  all.push_back(cuda_under_test("StagedThreads", {.threaded = true}, staged));
  all.push_back(cuda_under_test("StagedByOneThread", {.threaded = true}, one_thread));
  return all;
}

INSTANTIATE_TEST_SUITE_P(FakeCuda, DeviceSuite, testing::ValuesIn(all_under_test()),
                         [](const auto& under_test) { return under_test.param.name; });

}  // namespace
}  // namespace penstock
