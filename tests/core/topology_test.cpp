#include "core/topology.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <thread>

#include "core/error.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

std::vector<int> cores_by_node(const Topology& topology) {
  std::vector<int> counts(topology.nodes.size());
  for (const PhysicalCore& core : topology.cores) ++counts.at(static_cast<size_t>(core.node));
  return counts;
}

std::vector<int> os_indices(const Topology& topology) {
  std::vector<int> indices;
  for (const NumaNode& node : topology.nodes) indices.push_back(node.os_index);
  return indices;
}

// What holds of every topology: cores in node order, each with CPUs of its own, no CPU twice.
void expect_well_formed(const Topology& topology) {
  ASSERT_FALSE(topology.cores.empty());
  ASSERT_FALSE(topology.nodes.empty());
  EXPECT_GE(topology.package_count, 1);
  EXPECT_FALSE(topology.source.empty());
  EXPECT_TRUE(std::ranges::is_sorted(os_indices(topology)));
  std::set<int> seen;
  int last_node = 0;
  for (const PhysicalCore& core : topology.cores) {
    EXPECT_FALSE(core.cpus.empty());
    EXPECT_TRUE(std::ranges::is_sorted(core.cpus));
    EXPECT_LE(last_node, core.node);
    last_node = core.node;
    for (const int cpu : core.cpus) EXPECT_TRUE(seen.insert(cpu).second) << "CPU " << cpu << " is in two cores";
  }
  EXPECT_LT(last_node, std::ssize(topology.nodes));
  for (const int count : cores_by_node(topology)) EXPECT_GT(count, 0);
  EXPECT_EQ(topology.cpu_count(), std::ssize(seen));
}

TEST(Topology, TwoSocketsWithSmt) {
  const Topology topology = synthetic_topology("pack:2 [numa(memory=64GB)] l3:1 core:4 l2:1 l1d:1 pu:2");
  expect_well_formed(topology);
  EXPECT_EQ(topology.package_count, 2);
  EXPECT_EQ(topology.core_count(), 8);
  EXPECT_EQ(topology.cpu_count(), 16);
  EXPECT_TRUE(topology.has_smt());
  EXPECT_EQ(cores_by_node(topology), (std::vector<int>{4, 4}));
  EXPECT_EQ(topology.cores[5].cpus, (std::vector<int>{10, 11}));
  EXPECT_EQ(topology.nodes[1].os_index, 1);
  EXPECT_EQ(topology.nodes[1].memory_bytes, 64'000'000'000u);
  ASSERT_EQ(topology.caches.size(), 3u);
  EXPECT_EQ(topology.caches[0].cores_sharing, 1);
  EXPECT_EQ(topology.caches[2].level, 3);
  EXPECT_EQ(topology.caches[2].cores_sharing, 4);
  EXPECT_GT(topology.caches[2].bytes, 0u);
}

TEST(Topology, EightNodesBelowTwoPackages) {
  const Topology topology = synthetic_topology("pack:2 numa:4 core:8 pu:1");
  expect_well_formed(topology);
  EXPECT_EQ(topology.package_count, 2);
  EXPECT_EQ(topology.core_count(), 64);
  EXPECT_FALSE(topology.has_smt());
  EXPECT_EQ(os_indices(topology), (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(cores_by_node(topology), std::vector<int>(8, 8));
  EXPECT_TRUE(topology.caches.empty());
}

// Desktop parts: the machine has one node, however many packages and caches.
TEST(Topology, OneNode) {
  const Topology topology = synthetic_topology("l3:2 core:4 pu:2");
  expect_well_formed(topology);
  EXPECT_EQ(topology.core_count(), 8);
  EXPECT_EQ(topology.nodes.size(), 1u);
  ASSERT_EQ(topology.caches.size(), 1u);
  EXPECT_EQ(topology.caches[0].cores_sharing, 4);
}

TEST(Topology, WithoutCoresEveryCpuIsOne) {
  const Topology topology = synthetic_topology("pack:1 pu:4");
  expect_well_formed(topology);
  EXPECT_EQ(topology.core_count(), 4);
}

// Each core is near to DRAM and to a second kind of memory: the first that the system counts is its node.
TEST(Topology, OfTwoNodesBesideEachOtherTheFirstIsTheCores) {
  const Topology topology = synthetic_topology("pack:2 [numa] [numa] core:2 pu:1");
  expect_well_formed(topology);
  EXPECT_EQ(os_indices(topology), (std::vector<int>{0, 2}));
}

TEST(Topology, CpusetOfOneCoreOfTheSecondNode) {
  const Topology topology = synthetic_topology("pack:2 [numa] core:4 pu:2", {12, 13});
  expect_well_formed(topology);
  EXPECT_EQ(topology.core_count(), 1);
  EXPECT_EQ(topology.cores[0].cpus, (std::vector<int>{12, 13}));
  EXPECT_EQ(os_indices(topology), (std::vector<int>{1}));
  EXPECT_EQ(topology.package_count, 1);
}

TEST(Topology, CpusetThatCutsCores) {
  const Topology topology = synthetic_topology("pack:2 [numa] core:4 pu:2", {1, 2, 9});
  expect_well_formed(topology);
  EXPECT_EQ(topology.core_count(), 3);
  EXPECT_FALSE(topology.has_smt());
  EXPECT_EQ(cores_by_node(topology), (std::vector<int>{2, 1}));
}

TEST(Topology, ImpossibleDescriptionsAreRefused) {
  for (const auto& [description, cpus] : {std::pair<std::string, std::vector<int>>{"no such thing", {}},
                                          {"pack:0", {}},
                                          {"", {}},
                                          {"core:2 pu:1", {7}}}) {
    try {
      synthetic_topology(description, cpus);
      ADD_FAILURE() << "'" << description << "' was not refused";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput);
      EXPECT_NE(std::string(error.what()).find("'" + description + "'"), std::string::npos) << error.what();
    }
  }
}

std::vector<int> own_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  EXPECT_EQ(sched_getaffinity(0, sizeof set, &set), 0);
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

std::vector<int> all_cpus(const Topology& topology) {
  std::vector<int> cpus;
  for (const PhysicalCore& core : topology.cores) cpus.insert(cpus.end(), core.cpus.begin(), core.cpus.end());
  std::ranges::sort(cpus);
  return cpus;
}

TEST(Topology, ThisMachine) {
  const Topology topology = read_topology();
  expect_well_formed(topology);
  EXPECT_EQ(all_cpus(topology), own_cpus());
}

// A bound thread sees its own CPU only, whatever the process's other threads may use; looking leaves the mask alone.
TEST(Topology, RespectsAffinity) {
  const int last = own_cpus().back();
  std::thread([last] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(last, &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    const Topology topology = read_topology();
    expect_well_formed(topology);
    EXPECT_EQ(all_cpus(topology), std::vector<int>{last});
    EXPECT_EQ(own_cpus(), std::vector<int>{last});
  }).join();
  EXPECT_EQ(all_cpus(read_topology()), own_cpus());
}

// hwloc's own switches stand for systems that show it nothing.
class BlindTopology : public testing::TestWithParam<std::pair<const char*, const char*>> {
 protected:
  void SetUp() override { ASSERT_EQ(setenv(GetParam().first, GetParam().second, 1), 0); }
  void TearDown() override { unsetenv(GetParam().first); }
};

TEST_P(BlindTopology, IsReadAllTheSame) {
  const Topology topology = read_topology();
  expect_well_formed(topology);
  EXPECT_EQ(all_cpus(topology), own_cpus());
}

INSTANTIATE_TEST_SUITE_P(Causes, BlindTopology,
                         testing::Values(std::pair("HWLOC_FSROOT", "/proc/self/fd"),   // neither sysfs nor procfs
                                         std::pair("HWLOC_COMPONENTS", "no_os,stop"),  // CPUs, no cores
                                         std::pair("HWLOC_COMPONENTS", "stop")));      // nothing at all

TEST(Topology, WithoutHwlocTheMaskIsTheTopology) {
  ASSERT_EQ(setenv("HWLOC_COMPONENTS", "stop", 1), 0);
  const Topology topology = read_topology();
  unsetenv("HWLOC_COMPONENTS");
  expect_well_formed(topology);
  EXPECT_EQ(topology.source, "affinity mask (hwloc: it cannot be started)");
  EXPECT_FALSE(topology.has_smt());
  EXPECT_EQ(topology.nodes.size(), 1u);
}

}  // namespace
}  // namespace penstock
