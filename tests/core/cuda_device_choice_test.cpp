#include "core/cuda/device_choice.h"

#include <gtest/gtest.h>

#include <string>

#include "core/cuda/cuda_device.h"
#include "core/cuda/linked_runtime.h"
#include "core/error.h"
#include "fake_cuda_runtime.h"

namespace penstock {
namespace {

void expect_refusal(const FakeCudaOptions& options, int index, bool is_absent, const std::vector<std::string>& parts) {
  FakeCudaRuntime runtime(options);
  const CudaDeviceChoice choice = choose_cuda_device(runtime, index);
  EXPECT_FALSE(choice.info.has_value());
  EXPECT_EQ(choice.is_absent, is_absent) << choice.problem;
  EXPECT_EQ(choice.problem.find('\n'), std::string::npos) << choice.problem;
  for (const std::string& part : parts) {
    EXPECT_NE(choice.problem.find(part), std::string::npos) << part << " in: " << choice.problem;
  }
  try {
    CudaDevice(runtime, {.index = index});
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kDevice);
    EXPECT_EQ(error.what(), choice.problem);
  }
  EXPECT_EQ(runtime.leaks(), "") << "the error was not cleared";
}

TEST(CudaDeviceChoice, TakesAUsableGpu) {
  FakeCudaRuntime runtime;
  const CudaDeviceChoice choice = choose_cuda_device(runtime, 1);
  ASSERT_TRUE(choice.info.has_value()) << choice.problem;
  EXPECT_EQ(choice.info->properties.name, "Fake GPU");
  EXPECT_EQ(choice.info->free_bytes, 64u << 20);
  EXPECT_EQ(choice.info->driver_version, 13000);
  EXPECT_TRUE(choice.problem.empty());
}

// For verbs that compute nothing: a card that is busy can be looked at, and nothing is opened on it.
TEST(CudaDeviceChoice, LookingOpensNothing) {
  FakeCudaRuntime runtime({.open_status = CudaStatus::kDevicesUnavailable});
  const CudaDeviceChoice choice = choose_cuda_device(runtime, 1, CudaLook::kLook);
  ASSERT_TRUE(choice.info.has_value()) << choice.problem;
  EXPECT_EQ(choice.info->free_bytes, 64u << 20);
  EXPECT_EQ(choice.info->total_bytes, 64u << 20);
  EXPECT_EQ(runtime.counts().current_device_changes, 0);
}

TEST(CudaDeviceChoice, SaysWhatIsMissing) {
  // Without a driver CUDA says "insufficient" and version 0.
  expect_refusal({.driver_version = 0, .count_status = CudaStatus::kInsufficientDriver}, 0, true,
                 {"no NVIDIA driver", "580.65", "device.backend: host"});
  expect_refusal({.count_status = CudaStatus::kStubLibrary}, 0, true, {"no NVIDIA driver"});
  expect_refusal({.count_status = CudaStatus::kNoDevice}, 0, true, {"no GPU", "CUDA_VISIBLE_DEVICES"});
  expect_refusal({.device_count = 0}, 0, true, {"no GPU"});
}

TEST(CudaDeviceChoice, SaysWhatIsWrong) {
  expect_refusal({.driver_version = 12080, .count_status = CudaStatus::kInsufficientDriver}, 0, false,
                 {"CUDA 12.8", "CUDA 13.0", "580.65"});
  expect_refusal({.count_status = CudaStatus::kSystemDriverMismatch}, 0, false, {"driver", "580.65"});
  expect_refusal({.count_status = CudaStatus::kSystemNotReady}, 0, false, {"nvidia-smi", "802"});
  expect_refusal({.count_status = CudaStatus::kUnknown}, 0, false, {"looking for GPUs", "it failed", "999"});
  expect_refusal({.device_count = 1}, 1, false, {"device.index is 1", "is 1 GPU"});
  expect_refusal({.device_count = 2}, -1, false, {"device.index is -1", "are 2 GPUs", "CUDA_VISIBLE_DEVICES"});
  expect_refusal({.properties = {.name = "Old", .major = 7, .minor = 5}}, 0, false, {"Old", "7.5", "8.0"});
  expect_refusal({.open_status = CudaStatus::kDevicesUnavailable}, 0, false, {"GPU 0", "another program"});
  // A card without room for our context is busy too.
  expect_refusal({.open_status = CudaStatus::kMemoryAllocation}, 0, false, {"GPU 0", "nvidia-smi"});
}

TEST(CudaDeviceChoice, EveryCallMayFail) {
  for (const bool is_lost : {false, true}) {
    for (int n = 1; n <= 6; ++n) {
      FakeCudaRuntime runtime;
      is_lost ? runtime.lose_device_at_call(n) : runtime.fail_call(n, CudaStatus::kUnknown);
      const CudaDeviceChoice choice = choose_cuda_device(runtime, 0);
      EXPECT_FALSE(choice.info.has_value()) << n;
      EXPECT_FALSE(choice.problem.empty()) << n;
      EXPECT_EQ(runtime.leaks(), "") << n;
    }
  }
}

// On any machine: with a GPU, without one, without a driver.
TEST(CudaDeviceChoice, TheLinkedRuntimeAnswers) {
  CudaRuntime* runtime = linked_cuda_runtime();
  if (runtime == nullptr) GTEST_SKIP() << "built without CUDA";
  const CudaDeviceChoice choice = choose_cuda_device(*runtime, 0);
  EXPECT_NE(choice.info.has_value(), !choice.problem.empty());
  EXPECT_FALSE(runtime->error_text(CudaStatus::kInvalidValue).empty());
  EXPECT_EQ(runtime->error_name(CudaStatus::kInvalidValue), "cudaErrorInvalidValue");
}

}  // namespace
}  // namespace penstock
