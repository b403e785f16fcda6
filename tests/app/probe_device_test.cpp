// The probe of link, products, pinning and disk, small: on the emulated device, and over a fake CUDA runtime.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "app/probe/async_io.h"
#include "app/probe/disk_rate.h"
#include "app/probe/gemm_rate.h"
#include "app/probe/link_rate.h"
#include "app/probe/machine_probe.h"
#include "app/probe/pinning.h"
#include "app/probe/stream_rate.h"
#include "core/bytes.h"
#include "core/host_device.h"
#include "fake_cuda_runtime.h"
#include "fake_host_memory.h"
#include "model/host_maths.h"
#include "probe_profile.h"
#include "temporary_folder.h"

namespace penstock {
namespace {

constexpr TurnLimits kOnce = {.rounds = 1, .seconds = 0};
constexpr uint64_t kLinkBytes = 512 * kKiB;

TEST(LinkRate, OfAPacedLinkIsNeverAboveItsPace) {
  // Modelled: a copy takes this long at least, however fast the machine is.
  HostDevice device({.h2d_gbps = 0.5, .d2h_gbps = 0.25, .latency_us = 100});
  const LinkRates rates = measure_link(device, kLinkBytes, kOnce);
  EXPECT_EQ(rates.bytes, kLinkBytes);
  EXPECT_GT(rates.h2d_gbps, 0);
  EXPECT_LE(rates.h2d_gbps, 0.5);
  EXPECT_GT(rates.d2h_gbps, 0);
  EXPECT_LE(rates.d2h_gbps, 0.25);
  EXPECT_GT(rates.both_gbps, 0);
  EXPECT_LE(rates.both_gbps, 0.5);  // both loads end with the slower one
  EXPECT_GE(rates.latency_us, 100);
}

TEST(LinkRate, CopiesTheWholeMemoryEachWay) {
  HostDevice device({});
  std::vector<std::byte> host(3 * kKiB + 5, std::byte{1});
  const std::span<std::byte> memory = device.allocate("test", host.size());
  const std::array fetch = {LinkWay{LaneKind::kFetch, host, memory}};
  copy_seconds(device, fetch, kKiB);
  EXPECT_THAT(memory, testing::Each(std::byte{1}));
  std::ranges::fill(memory, std::byte{2});
  const std::array offload = {LinkWay{LaneKind::kOffload, host, memory}};
  copy_seconds(device, offload, kKiB);
  EXPECT_THAT(host, testing::Each(std::byte{2}));
}

class OverFakeCuda : public testing::Test {
 protected:
  void TearDown() override { EXPECT_EQ(runtime_.leaks(), ""); }
  CudaDeviceOptions options(PinMode pin) const { return {.reserve_bytes = 0, .pin = pin}; }

  FakeCudaRuntime runtime_{{.threaded = true}};
};

TEST_F(OverFakeCuda, LinkOfPinnedAndOfStagedMemory) {
  for (const PinMode pin : {PinMode::kAll, PinMode::kStaged}) {
    CudaDevice device(runtime_, options(pin));
    const LinkRates rates = measure_link(device, kLinkBytes, kOnce);
    EXPECT_GT(rates.h2d_gbps, 0) << pin_mode_name(pin);
    EXPECT_GT(rates.both_gbps, 0) << pin_mode_name(pin);
  }
  EXPECT_EQ(runtime_.counts().pageable_copies, 0);
}

TEST_F(OverFakeCuda, PinningIsMeasured) {
  const PinTimes times = measure_pinning(runtime_, options(PinMode::kAll), kMiB, {.rounds = 3, .seconds = 1e9});
  EXPECT_EQ(times.problem, "");
  EXPECT_GT(times.seconds_per_gib, 0);
  EXPECT_EQ(runtime_.counts().registrations, 3);
  EXPECT_TRUE(runtime_.registrations().empty());
}

TEST_F(OverFakeCuda, MemoryComesFromTheNodeThatIsAskedFor) {
  FakeHostMemory calls;
  const ArenaOptions memory{.node = 3, .calls = &calls};
  measure_pinning(runtime_, options(PinMode::kAll), kMiB, kOnce, memory);
  EXPECT_THAT(calls.nodes, testing::ElementsAre(3));
  CudaDevice device(runtime_, options(PinMode::kAll));
  measure_link(device, kLinkBytes, kOnce, memory);
  EXPECT_THAT(calls.nodes, testing::ElementsAre(3, 3));
  measure_stream({.bytes = kMiB, .thread_counts = {1}, .memory = memory, .limits = kOnce});
  EXPECT_THAT(calls.nodes, testing::ElementsAre(3, 3, 3));
}

TEST_F(OverFakeCuda, RefusedPinningIsSaidAndNotTriedAgain) {
  runtime_.refuse_registration(2);
  const PinTimes times = measure_pinning(runtime_, options(PinMode::kAll), kMiB, {.rounds = 5, .seconds = 1e9});
  EXPECT_THAT(times.problem, testing::HasSubstr("refuses to pin 1.00 MiB"));
  EXPECT_EQ(times.seconds_per_gib, 0);
  EXPECT_LE(runtime_.counts().registrations, 3);  // one that was granted, one refused, the ring for staging
}

TEST_F(OverFakeCuda, WhereCopiesAreStagedNothingIsPinned) {
  EXPECT_NE(measure_pinning(runtime_, options(PinMode::kStaged), kMiB, kOnce).problem, "");
  EXPECT_EQ(runtime_.counts().registrations, 0);
}

TEST(GemmRate, GrowsToWhatTheTimeAllows) {
  HostDevice device({});
  HostMaths maths(1);
  // No time at all: the smallest product. More than any machine needs for 32 x 32: the largest.
  GemmProbe in_no_time(device, maths, {.most_size = 512, .sample_seconds = 0, .turns = kOnce});
  const GemmRate small = in_no_time.measure(DType::kFloat32);
  EXPECT_EQ(small.size, 256);
  EXPECT_EQ(small.dtype, DType::kFloat32);
  EXPECT_GT(small.tflops, 0);
  GemmProbe in_any_time(device, maths, {.most_size = 512, .sample_seconds = 1e9, .turns = kOnce});
  EXPECT_EQ(in_any_time.measure(DType::kFloat32).size, 512);
  GemmProbe below(device, maths, {.most_size = 64, .sample_seconds = 1e9, .turns = kOnce});
  const GemmRate narrow = below.measure(DType::kBFloat16);
  EXPECT_EQ(narrow.size, 64);
  EXPECT_EQ(narrow.dtype, DType::kBFloat16);
}

TEST(DiskRate, WritesReadsAndLeavesNothing) {
  const TemporaryFolder folder;
  const DiskRates rates = measure_disk(folder.path().string(), {.most_bytes = 16 * kMiB, .seconds = 60});
  EXPECT_EQ(rates.problem, "");
  EXPECT_EQ(rates.bytes, 16 * kMiB);
  EXPECT_GT(rates.write_gbps, 0);
  EXPECT_GT(rates.read_gbps, 0);
  EXPECT_GT(rates.free_bytes, 0u);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(DiskRate, WithoutTimeOnePiece) {
  const TemporaryFolder folder;
  const DiskRates rates = measure_disk(folder.path().string(), {.most_bytes = 64 * kMiB, .seconds = 0});
  EXPECT_EQ(rates.problem, "");
  EXPECT_EQ(rates.bytes, 4 * kMiB);
}

TEST(DiskRate, OfAFolderThatIsNotThereYet) {
  const TemporaryFolder folder;
  const DiskRates rates =
      measure_disk((folder.path() / "runs" / "one").string(), {.most_bytes = 16 * kMiB, .seconds = 60});
  EXPECT_EQ(rates.folder, folder.path().string());
  EXPECT_TRUE(rates.is_measured());
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "runs"));
}

TEST(DiskRate, WhatCannotBeMeasuredIsSaid) {
  const DiskRates too_small = measure_disk(testing::TempDir(), {.most_bytes = kMiB, .seconds = 60});
  EXPECT_FALSE(too_small.is_measured());
  EXPECT_THAT(too_small.problem, testing::HasSubstr("free"));
  const DiskRates unwritable = measure_disk("/proc", {.most_bytes = 16 * kMiB, .seconds = 60});
  EXPECT_FALSE(unwritable.is_measured());
}

TEST(MachineProbe, BindsAsTheOptimizerDoesWithTheCardsNodeFirst) {
  MachineFacts facts = made_up_facts();
  facts.topology = synthetic_topology("numa:2 core:2 pu:1");
  facts.card_node = 1;
  const CorePlan near = probe_cores(facts, {.backend = Backend::kCuda});
  EXPECT_THAT(near.cpus, testing::ElementsAre(std::vector{2}, std::vector{3}, std::vector{0}, std::vector{1}));
  EXPECT_EQ(near.memory_node, 1);
  facts.card_node.reset();
  const CorePlan unknown = probe_cores(facts, {.backend = Backend::kCuda});
  EXPECT_EQ(unknown.cpus.size(), 4u);
  EXPECT_EQ(unknown.memory_node, std::nullopt);
  EXPECT_TRUE(probe_cores(facts, {.backend = Backend::kHost}).cpus.empty());
}

TEST(MachineProbe, MultipliesWithEveryCpuAsARunDoes) {
  MachineFacts facts = made_up_facts();  // two cores of two hardware threads
  facts.free_memory.available_bytes = 64 * kMiB;
  const TemporaryFolder folder;
  const MachineProfile profile =
      probe_machine(facts, {.backend = Backend::kHost}, {.output_dir = folder.path().string(), .quick = true});
  EXPECT_EQ(profile.compute_threads, 4);
  EXPECT_EQ(profile.stream.in_place.back().threads, 2);
  for (const DType dtype : kMeasuredTypes) EXPECT_GT(profile.tflops(dtype), 0);
}

TEST(AsyncIo, IsAvailableOrSaysWhyNot) {
  const AsyncIo io = probe_async_io();
  EXPECT_NE(io.available, !io.problem.empty());
}

}  // namespace
}  // namespace penstock
