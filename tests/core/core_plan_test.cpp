#include "core/core_plan.h"

#include <gtest/gtest.h>

#include <set>

#include "core/error.h"

namespace penstock {
namespace {

const Topology kDesktop = synthetic_topology("l3:1 core:8 pu:2");
const Topology kTwoSockets = synthetic_topology("pack:2 [numa(memory=64GB)] core:16 pu:2");

std::vector<std::vector<int>> cpus_of(const Topology& topology, std::initializer_list<size_t> cores) {
  std::vector<std::vector<int>> cpus;
  for (const size_t core : cores) cpus.push_back(topology.cores[core].cpus);
  return cpus;
}

TEST(CorePlan, HostDeviceTakesAThreadPerCoreAndBindsNone) {
  const CorePlan plan = plan_cores(kDesktop, {});
  EXPECT_EQ(plan.optimizer_threads, 8);
  EXPECT_TRUE(plan.cpus.empty());
  EXPECT_FALSE(plan.memory_node);
  EXPECT_EQ(plan_cores(kTwoSockets, {.device_node = 1}).optimizer_threads, 32);
  EXPECT_FALSE(plan_cores(kTwoSockets, {.device_node = 1}).memory_node);
}

TEST(CorePlan, ACardLeavesACoreToTheIssuingThreads) {
  const CorePlan plan = plan_cores(kDesktop, {.computes_on_host = false});
  EXPECT_EQ(plan.optimizer_threads, 7);
  EXPECT_EQ(plan.cpus, cpus_of(kDesktop, {0, 1, 2, 3, 4, 5, 6}));
  for (int cores = 1; cores <= 4; ++cores) {
    const Topology small = synthetic_topology("core:" + std::to_string(cores) + " pu:1");
    EXPECT_EQ(plan_cores(small, {.computes_on_host = false}).optimizer_threads, cores > 2 ? cores - 1 : cores);
    EXPECT_EQ(plan_cores(small, {}).optimizer_threads, cores);
  }
}

TEST(CorePlan, TheKneeIsTheMostThatAutoTakes) {
  EXPECT_EQ(plan_cores(kDesktop, {.knee = 3}).optimizer_threads, 3);
  EXPECT_EQ(plan_cores(kDesktop, {.knee = 99}).optimizer_threads, 8);
  EXPECT_EQ(plan_cores(kDesktop, {.computes_on_host = false, .knee = 99}).optimizer_threads, 7);
  EXPECT_EQ(plan_cores(kDesktop, {.computes_on_host = false, .knee = 3}).cpus.size(), 3u);
  EXPECT_EQ(plan_cores(kDesktop, {.threads = 5, .knee = 3}).optimizer_threads, 5);  // what is asked for is done
  EXPECT_EQ(plan_cores(kDesktop, {.knee = 0}).optimizer_threads, 1);
}

TEST(CorePlan, MoreThreadsThanCoresAreNotBound) {
  const CorePlan plan = plan_cores(kDesktop, {.computes_on_host = false, .threads = 9});
  EXPECT_EQ(plan.optimizer_threads, 9);
  EXPECT_TRUE(plan.cpus.empty());
  EXPECT_TRUE(plan_cores(kDesktop, {.computes_on_host = false, .threads = 1}).cpus.empty());
}

TEST(CorePlan, TheCardsNodeComesFirst) {
  const CoreRequest request{.computes_on_host = false, .device_node = 1, .memory_bytes = 40'000'000'000};
  const CorePlan plan = plan_cores(kTwoSockets, request);
  EXPECT_EQ(plan.memory_node, 1);
  EXPECT_EQ(plan.optimizer_threads, 15);
  for (size_t i = 0; i < plan.cpus.size(); ++i) EXPECT_EQ(plan.cpus[i], kTwoSockets.cores[16 + i].cpus);
  CoreRequest many = request;
  many.threads = 18;  // two more than the node has
  EXPECT_EQ(plan_cores(kTwoSockets, many).cpus[16], kTwoSockets.cores[0].cpus);
  CoreRequest large = request;
  large.memory_bytes = 65'000'000'000;  // more than the node holds: both serve
  EXPECT_FALSE(plan_cores(kTwoSockets, large).memory_node);
  EXPECT_EQ(plan_cores(kTwoSockets, large).optimizer_threads, 31);
  CoreRequest unseen = request;
  unseen.device_node = 7;  // not among the nodes this process may use
  EXPECT_FALSE(plan_cores(kTwoSockets, unseen).memory_node);
  EXPECT_FALSE(plan_cores(kDesktop, request).memory_node);  // one node: nothing to choose
}

TEST(CorePlan, TheUsersNodeWins) {
  const CorePlan plan =
      plan_cores(kTwoSockets, {.computes_on_host = false, .numa = 0, .device_node = 1, .memory_bytes = 65'000'000'000});
  EXPECT_EQ(plan.memory_node, 0);
  EXPECT_EQ(plan.cpus.front(), kTwoSockets.cores[0].cpus);
  EXPECT_EQ(plan_cores(kTwoSockets, {.numa = 1}).optimizer_threads, 16);
  EXPECT_EQ(plan_cores(kTwoSockets, {.numa = 1}).memory_node, 1);
  const Topology second_only = synthetic_topology("pack:2 [numa] core:4 pu:1", {5, 6});
  EXPECT_EQ(plan_cores(second_only, {.numa = 1}).optimizer_threads, 2);
}

TEST(CorePlan, AnUnknownNodeIsRefused) {
  try {
    plan_cores(kTwoSockets, {.numa = 2});
    FAIL() << "not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    EXPECT_STREQ(error.what(),
                 "memory.numa: 2 is no NUMA node with cores that this process may use; there are 0, 1; give one of "
                 "these, or auto");
  }
}

// Of every machine: at least one thread, no core twice, no CPU outside.
TEST(CorePlan, BindingsAreDistinctCores) {
  for (const char* machine : {"core:1 pu:1", "core:2 pu:2", "pack:2 numa:4 core:8 pu:2", "pack:4 core:3 pu:1"}) {
    const Topology topology = synthetic_topology(machine);
    for (const int threads : {0, 1, 2, 3, 8, 64, 65}) {
      CoreRequest request{.computes_on_host = false, .device_node = 3};
      if (threads > 0) request.threads = threads;
      const CorePlan plan = plan_cores(topology, request);
      EXPECT_GE(plan.optimizer_threads, 1);
      EXPECT_TRUE(plan.cpus.empty() || std::ssize(plan.cpus) == plan.optimizer_threads) << machine;
      std::set<int> seen;
      for (const std::vector<int>& cpus : plan.cpus) {
        for (const int cpu : cpus) EXPECT_TRUE(seen.insert(cpu).second) << machine << ", CPU " << cpu;
      }
    }
  }
}

}  // namespace
}  // namespace penstock
