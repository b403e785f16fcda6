// An error, a lost device or a refusal at every call of a fixed script: one line with the right exit code, no hang,
// nothing left behind.
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "core/arena.h"
#include "core/cuda/cuda_device.h"
#include "core/error.h"
#include "fake_cuda_runtime.h"

namespace penstock {
namespace {

constexpr LaneKind kFetch = LaneKind::kFetch;
constexpr LaneKind kCompute = LaneKind::kCompute;
constexpr LaneKind kOffload = LaneKind::kOffload;

CudaDeviceOptions options_of(PinMode pin) {
  return {.index = 1,
          .reserve_bytes = 0,
          .copy_piece_bytes = 3000,
          .pin = pin,
          .pin_piece_bytes = 8192,
          .staging = {.slot_bytes = 2048, .slots = 2}};
}

// Two steps of a small schedule, with every kind of call.
void run_script(CudaRuntime& runtime, PinMode pin) {
  Arena arena("host", 32 * kKiB);
  const std::span<std::byte> host = arena.allocate(32 * kKiB);
  CudaDevice device(runtime, options_of(pin));
  const std::span<std::byte> slot = device.allocate("slot", 10'000);
  const std::span<std::byte> gradient = device.allocate("gradient", 10'000);
  const auto registration = device.register_host(std::vector<HostRegion>{{host.first(16 * kKiB), HostUse::kTransfers},
                                                                         {host.subspan(16 * kKiB), HostUse::kState}});
  device.seal();
  const auto fetched = device.create_event(), computed = device.create_event(), offloaded = device.create_event();
  const auto begin = device.create_timing_event(), end = device.create_timing_event();
  for (int step = 0; step < 2; ++step) {
    device.copy(kFetch, slot, host.subspan(9000, 10'000));
    device.record(kFetch, *fetched);
    device.wait(kCompute, *fetched);
    device.record(kCompute, *begin);
    device.launch(kCompute, [] {});
    device.copy(kCompute, gradient, slot);
    device.record(kCompute, *end);
    device.record(kCompute, *computed);
    device.wait(kOffload, *computed);
    device.copy(kOffload, host.subspan(20'000, 10'000), gradient);
    device.record(kOffload, *offloaded);
    device.wait(kFetch, *offloaded);
    device.synchronize(*offloaded);
    EXPECT_LE(device.time_ns(*begin), device.time_ns(*end));
    device.fill(kFetch, slot, std::byte{0});
  }
  device.synchronize_all();
}

struct Fault {
  std::string name;
  std::function<void(FakeCudaRuntime&, int n)> arm;
  bool may_be_absorbed;  // a refused pin leads to staged copies
};

std::vector<Fault> faults() {
  return {
      {"error", [](FakeCudaRuntime& runtime, int n) { runtime.fail_call(n, CudaStatus::kUnknown); }, true},
      {"no memory", [](FakeCudaRuntime& runtime, int n) { runtime.fail_call(n, CudaStatus::kMemoryAllocation); }, true},
      {"lost", [](FakeCudaRuntime& runtime, int n) { runtime.lose_device_at_call(n); }, false}};
}

// The error's exit code; none if the script came through.
std::optional<ExitCode> run_with(FakeCudaRuntime& runtime, PinMode pin, const std::string& trace) {
  std::optional<ExitCode> code;
  try {
    run_script(runtime, pin);
  } catch (const Error& error) {
    code = error.code();
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << trace;
    EXPECT_GT(std::string(error.what()).size(), 20u) << trace;
  }
  EXPECT_EQ(runtime.leaks(), "") << trace;
  EXPECT_EQ(runtime.counts().pageable_copies, 0) << trace;
  return code;
}

void fail_every_call(PinMode pin, bool threaded) {
  for (const Fault& fault : faults()) {
    int failed = 0;
    for (int n = 1;; ++n) {
      const std::string trace = fault.name + " at call " + std::to_string(n);
      FakeCudaRuntime runtime({.seed = static_cast<uint64_t>(n), .threaded = threaded});
      fault.arm(runtime, n);
      const std::optional<ExitCode> code = run_with(runtime, pin, trace);
      if (runtime.counts().calls < n) break;  // the script has fewer calls
      failed += code.has_value();
      if (code) {
        const bool is_memory = fault.name == "no memory" && *code == ExitCode::kDoesNotFit;
        EXPECT_TRUE(*code == ExitCode::kDevice || is_memory) << trace;
      }
      if (!fault.may_be_absorbed) {
        // After the script's last wait only releases are left.
        EXPECT_TRUE(code.has_value() || failed > 60) << trace;
      }
    }
    EXPECT_GT(failed, 60) << fault.name << ": the script must be long enough to say something";
  }
}

TEST(CudaFaults, EveryCallOfAPinnedRunMayFail) { fail_every_call(PinMode::kAll, false); }
TEST(CudaFaults, EveryCallOfAStagedRunMayFail) { fail_every_call(PinMode::kStaged, false); }
TEST(CudaFaults, EveryCallOfAMixedRunMayFail) { fail_every_call(PinMode::kTransfers, false); }
TEST(CudaFaults, EveryCallMayFailOnThreads) {
  fail_every_call(PinMode::kAll, true);
  fail_every_call(PinMode::kStaged, true);
}

TEST(CudaFaults, MemoryThatIsRefusedDoesNotFit) {
  for (int n = 1; n <= 3; ++n) {
    FakeCudaRuntime runtime;
    runtime.refuse_allocation(n);
    const std::optional<ExitCode> code = run_with(runtime, PinMode::kAll, "allocation " + std::to_string(n));
    EXPECT_EQ(code.has_value(), n <= 2);
    if (code) {
      EXPECT_EQ(*code, ExitCode::kDoesNotFit);
    }
  }
}

TEST(CudaFaults, PinsThatAreRefusedAreDoneWithout) {
  for (int n = 1; n <= 5; ++n) {
    FakeCudaRuntime runtime;
    runtime.refuse_registration(n);
    EXPECT_EQ(run_with(runtime, PinMode::kAll, "registration " + std::to_string(n)), std::nullopt);
  }
}

}  // namespace
}  // namespace penstock
