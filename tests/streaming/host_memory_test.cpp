// The host memory of a run: as many bytes as planned become resident, and whatever the system refuses on the way leaves
// nothing behind.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "core/cuda/cuda_device.h"
#include "core/error.h"
#include "core/host_device.h"
#include "fake_cuda_runtime.h"
#include "fake_host_memory.h"
#include "tiny_run.h"

namespace penstock {
namespace {

constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE

HostMemory plenty() { return {UINT64_MAX, "nothing"}; }

// 0 where the system does not tell.
uint64_t resident_bytes() {
  std::ifstream file("/proc/self/smaps_rollup");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string key;
    uint64_t kilobytes = 0;
    if (words >> key >> kilobytes && key == "Rss:") return kilobytes * 1024;
  }
  return 0;
}

class ResidentMemory : public testing::TestWithParam<StateFormat> {};

TEST_P(ResidentMemory, IsWhatThePlanSays) {
  if (resident_bytes() == 0) GTEST_SKIP() << "skipped 1 test: the system has no smaps_rollup";
  RunShape shape{.model = tiny_model(8, 1376),
                 .format = GetParam(),
                 .gradient = gradient_dtype(GetParam()),
                 .rows = 2,
                 .length = 64};
  shape.model.hidden_size = 512;
  shape.model.vocab_size = 8192;
  const StepSettings step{.activations = std::vector<ActivationPolicy>(8, ActivationPolicy::kKeep)};
  const RunPlan plan = plan_run(shape, step);
  const uint64_t planned = memory_plan(plan, 0).host_bytes();
  EXPECT_GT(planned, 100'000'000u);
  HostDevice device({});
  WorkerTeam team(2);
  const uint64_t before = resident_bytes();
  ModelMemory memory(plan.shape, plan.planner.buffers());
  EXPECT_LT(static_cast<double>(memory.mapped_bytes()), 1.001 * static_cast<double>(planned));
  memory.touch(team, {.available = plenty});
  const LayerStore store(plan.planner.buffers(), memory, device, &team);
  const uint64_t measured = resident_bytes() - before;
  EXPECT_NEAR(static_cast<double>(measured) / static_cast<double>(planned), 1.0, 0.02)
      << measured << " bytes for " << planned << " planned";
}

INSTANTIATE_TEST_SUITE_P(Formats, ResidentMemory,
                         testing::Values(StateFormat::kExact, StateFormat::kFloat32, StateFormat::kCompact,
                                         StateFormat::kCompact8),
                         [](const auto& test) { return std::string(state_format_name(test.param)); });

class HostMemoryFaults : public testing::Test {
 protected:
  struct Outcome {
    std::string error;  // empty: all went well
    std::vector<std::string> notices;
    std::string leaks;  // of the card
  };

  // Everything a run maps, touches and pins, in its order.
  Outcome run(FakeHostMemory& system, int refused_pin = 0) {
    Outcome outcome;
    const auto note = [&](const std::string& line) { outcome.notices.push_back(line); };
    CudaDeviceOptions pinning{.copy_piece_bytes = 1 << 20, .pin = PinMode::kAll, .pin_piece_bytes = 1 << 20};
    pinning.notice = note;
    pinning.reserve_bytes = 0;
    FakeCudaRuntime runtime({.seed = 5});
    if (refused_pin > 0) runtime.refuse_registration(refused_pin);
    try {
      CudaDevice device(runtime, pinning);
      ModelMemory memory(plan_.shape, plan_.planner.buffers(), {.node = 0, .notice = note, .calls = &system});
      WorkerTeam team(2);
      memory.touch(team, {.available = plenty, .calls = &system});
      const LayerStore store(plan_.planner.buffers(), memory, device, &team);
      mapped_bytes_ = system.mapped_bytes();
      registrations_ = runtime.counts().registrations;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kDoesNotFit) << error.what();
      outcome.error = error.what();
      EXPECT_FALSE(outcome.error.empty());
    }
    outcome.leaks = runtime.leaks();
    return outcome;
  }

  // One line, whether it stops the run or slows it down, and nothing mapped.
  void expect_clean(const FakeHostMemory& system, const Outcome& outcome, const std::string& what) {
    EXPECT_EQ(system.mapped_bytes(), 0u) << what;
    EXPECT_EQ(outcome.leaks, "") << what;
    EXPECT_EQ(outcome.error.find('\n'), std::string::npos) << what << ": " << outcome.error;
    for (const std::string& line : outcome.notices) EXPECT_EQ(line.find('\n'), std::string::npos) << what;
    EXPECT_LE(outcome.notices.size() + (outcome.error.empty() ? 0 : 1), 1u) << what;
  }

  static RunPlan make_plan() {
    TinySettings settings;
    settings.format = StateFormat::kExact;
    settings.intermediate_size = 4096;  // some huge pages
    return tiny_plan(settings);
  }

  RunPlan plan_ = make_plan();
  int registrations_ = 0;
  uint64_t mapped_bytes_ = 0;
};

TEST_F(HostMemoryFaults, TheNthRefusalOfTheSystem) {
  FakeHostMemory clean;
  const Outcome whole = run(clean);
  EXPECT_EQ(whole.error, "");
  EXPECT_TRUE(whole.notices.empty());
  EXPECT_EQ(clean.calls(MemoryCall::kMap), 2);  // the model's memory, staging
  EXPECT_GT(clean.calls(MemoryCall::kAdvise), 6);
  EXPECT_EQ(clean.calls(MemoryCall::kPreferNode), 2);
  for (const MemoryCall kind : {MemoryCall::kMap, MemoryCall::kAdvise, MemoryCall::kPreferNode}) {
    for (int n = 1; n <= clean.calls(kind); ++n) {
      FakeHostMemory system;
      system.refuse(kind, n, ENOMEM);
      const Outcome outcome = run(system);
      const std::string what = "call " + std::to_string(static_cast<int>(kind)) + ", the " + std::to_string(n) + ".";
      expect_clean(system, outcome, what);
      // A node and large pages are wishes; memory, and pages that were promised, are needs.
      const bool is_needed =
          kind == MemoryCall::kMap || (kind == MemoryCall::kAdvise && system.refused_advice == kPopulateWrite);
      EXPECT_EQ(outcome.error.empty(), !is_needed) << what;
    }
  }
}

// The model's memory and the staging: every page is touched before it is pinned.
TEST_F(HostMemoryFaults, NoPageIsLeftForThePinning) {
  FakeHostMemory system;
  run(system);
  uint64_t touched_bytes = 0;
  for (const FakeHostMemory::Advice& given : system.advices) {
    if (given.advice == kPopulateWrite) touched_bytes += given.bytes;
  }
  if (touched_bytes == 0) GTEST_SKIP() << "skipped 1 test: the kernel has no MADV_POPULATE_WRITE";
  EXPECT_EQ(touched_bytes, mapped_bytes_);
}

TEST_F(HostMemoryFaults, WhatBothArenasAreRefusedIsSaidOnce) {
  FakeHostMemory system;
  system.refuse_every(MemoryCall::kPreferNode, EPERM);
  const Outcome outcome = run(system);
  EXPECT_EQ(system.calls(MemoryCall::kPreferNode), 2);
  expect_clean(system, outcome, "every node");
  EXPECT_EQ(outcome.notices.size(), 1u);
}

TEST_F(HostMemoryFaults, TheNthRefusedPin) {
  FakeHostMemory clean;
  run(clean);
  const int pins = registrations_;
  ASSERT_GT(pins, 2);
  for (int n = 1; n <= pins; ++n) {
    FakeHostMemory system;
    const Outcome outcome = run(system, n);
    expect_clean(system, outcome, "pin " + std::to_string(n));
    EXPECT_EQ(outcome.notices.size() + (outcome.error.empty() ? 0 : 1), 1u) << "pin " << n;
  }
}

}  // namespace
}  // namespace penstock
