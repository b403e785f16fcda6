// What is read of a machine: from made-up roots, and of this one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "app/probe/machine_facts.h"
#include "app/probe/probe_report.h"
#include "core/bytes.h"
#include "probe_profile.h"
#include "temporary_folder.h"

namespace penstock {
namespace {

using testing::ElementsAre;

class MadeUpRoot : public testing::Test {
 protected:
  void write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((folder_.path() / path).parent_path());
    std::ofstream(folder_.path() / path) << text;
  }

  TemporaryFolder folder_;
};

TEST_F(MadeUpRoot, ProcessorOfTheFirstCpu) {
  write("proc/cpuinfo",
        "processor\t: 0\nmodel name\t: Fine Processor 9000 \nflags\t\t: fpu avx2 avx512f sse amx_bf16\n\n"
        "processor\t: 1\nmodel name\t: Another\nflags\t\t: avx512_bf16\n");
  const Processor processor = read_processor(folder_.path());
  EXPECT_EQ(processor.model, "Fine Processor 9000");
  EXPECT_THAT(processor.features, ElementsAre("avx2", "avx512f", "amx_bf16"));
}

TEST_F(MadeUpRoot, RamAndSwap) {
  write("proc/meminfo", "MemTotal:  1000 kB\nMemFree: 1 kB\nHugePages_Total: 3\nSwapTotal: 500 kB\nSwapFree: 100 kB\n");
  const HostRam ram = read_host_ram(folder_.path());
  EXPECT_EQ(ram.total_bytes, 1000 * kKiB);
  EXPECT_EQ(ram.swapped_bytes, 400 * kKiB);
}

TEST_F(MadeUpRoot, NothingToRead) {
  const MachineFacts facts = read_machine_facts({}, folder_.path());
  EXPECT_EQ(facts.processor.model, "unknown");
  EXPECT_EQ(facts.ram.total_bytes, 0u);
  EXPECT_EQ(facts.node_count, 1);
  EXPECT_EQ(facts.huge_pages, HugePages::kUnknown);
  EXPECT_EQ(facts.governor, "");
  EXPECT_TRUE(facts.group_limits.empty());
  EXPECT_FALSE(facts.is_wsl);
}

TEST_F(MadeUpRoot, AllOfIt) {
  write("sys/devices/system/node/has_memory", "0-2,4\n");
  write("sys/devices/system/node/has_cpu", "1-3\n");
  write("sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
  write("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n");
  write("proc/sys/kernel/osrelease", "5.15.90.1-microsoft-standard-WSL2\n");
  write("proc/self/cgroup", "0::/job\n");
  write("proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  write("sys/fs/cgroup/job/memory.max", "4096\n");
  const MachineFacts facts = read_machine_facts({}, folder_.path());
  EXPECT_EQ(facts.node_count, 2) << "memory without cores, and cores without memory";
  EXPECT_EQ(facts.huge_pages, HugePages::kNever);
  EXPECT_EQ(facts.governor, "powersave");
  EXPECT_TRUE(facts.is_wsl);
  ASSERT_EQ(facts.group_limits.size(), 1u);
  EXPECT_EQ(facts.group_limits[0].path, "/sys/fs/cgroup/job/memory.max");
}

TEST_F(MadeUpRoot, TheCardsNode) {
  write("sys/bus/pci/devices/0000:65:00.0/numa_node", "1\n");
  RunDevice device{.backend = Backend::kCuda};
  device.card = CudaDeviceInfo{.properties = {.name = "Fast Card", .pci_address = "0000:65:00.0"}};
  const MachineFacts facts = read_machine_facts(device, folder_.path());
  EXPECT_EQ(facts.card, "Fast Card");
  EXPECT_EQ(facts.card_node, 1);
}

TEST(MachineFactsHere, ThisMachineHasCoresAndMemory) {
  const MachineFacts facts = read_machine_facts({});
  EXPECT_GE(facts.topology.core_count(), 1);
  EXPECT_GT(facts.ram.total_bytes, kMiB);
  EXPECT_GE(facts.node_count, static_cast<int>(facts.topology.nodes.size()));
}

TEST(MachineFactsMadeUp, CachesOfAllCores) {
  MachineFacts facts = made_up_facts();
  EXPECT_EQ(facts.cache_bytes(), 64 * kMiB);
  facts.topology.caches.back().cores_sharing = 1;  // two cores, each with its own
  EXPECT_EQ(facts.cache_bytes(), 128 * kMiB);
  facts.topology.caches.clear();
  EXPECT_EQ(facts.cache_bytes(), 0u);
}

TEST(MachineFactsMadeUp, AsJson) {
  MachineFacts facts = made_up_facts();
  facts.limits.memlock_bytes = 8 * kMiB;
  const nlohmann::json json = to_json(facts);
  EXPECT_EQ(json["topology"]["cores"], 2);
  EXPECT_EQ(json["topology"]["cpus"], 4);
  EXPECT_EQ(json["topology"]["nodes"][0]["cores"], 2);
  EXPECT_EQ(json["memory"]["memlock_bytes"], 8 * kMiB);
  EXPECT_TRUE(json["memory"]["data_bytes"].is_null()) << "no limit";
  EXPECT_EQ(json["memory"]["huge_pages"], "madvise");
  EXPECT_EQ(json["processor"]["instruction_set"], "avx512");
}

TEST(ProbeReport, Golden) {
  MachineFacts facts = made_up_facts();
  facts.limits.memlock_bytes = 8 * kMiB;
  facts.group_limits = {{"/sys/fs/cgroup/memory.max", 16 * kGiB, 12 * kGiB}};
  EXPECT_EQ(format_probe(facts, made_up_profile()),
            R"(machine   Fine Processor 9000
cores     2 cores, 4 CPUs, 1 package, avx512; bf16 products: yes; governor performance
caches    L1 32.0 KiB for 1 core, L3 64.0 MiB for 2 cores
nodes     0: 2 cores, 32.0 GiB
memory    32.0 GiB of RAM, 30.0 GiB free (MemAvailable of /proc/meminfo); huge pages: madvise
groups    /sys/fs/cgroup/memory.max: 16.0 GiB, 12.0 GiB free
limits    memlock 8.00 MiB
stream    in place over 1.00 GiB; knee: 2 threads
          GB/s by threads: 1:40.0 2:50.0
copy      20.0 GB/s
touch     s/GiB with huge pages 0.125 by one thread, 0.062 by 2; without 0.500, 0.250
device    emulated on the host
products  float32 0.25 TFLOP/s (4096 x 4096), bfloat16 1 TFLOP/s (2048 x 2048)
link      10.0 GB/s to the device, 8.0 back, 12.0 both at once; 2.0 us a copy
disk      1.50 GB/s written, 2.50 read, O_DIRECT (/data, 100 GiB free)
io_uring  available
probe     2026-11-21T04:00:00Z, 12.5 s)");
}

TEST(ProbeReport, OfALargeMachineIsOneScreen) {
  MachineFacts facts = made_up_facts();
  MachineProfile profile = made_up_profile();
  facts.processor.model = std::string(60, 'x');
  facts.card_node = 1;
  for (int i = 0; i < 40; ++i) {
    facts.group_limits.push_back({"/sys/fs/cgroup/" + std::string(80, 'a' + i % 26) + "/memory.max", kGiB, kGiB});
  }
  for (int node = 0; node < 8; ++node) facts.topology.nodes.push_back({node, 512 * kGiB});
  profile.stream.in_place.clear();
  for (const int threads : stream_thread_counts(192)) profile.stream.in_place.push_back({threads, 1234.5});
  profile.stream.beyond_caches = false;
  profile.pinning = PinTimes{.problem = "the system refuses to pin 512 MiB"};
  profile.identity.device = "NVIDIA H200";
  profile.disk.problem = "/data: cannot write there: Permission denied";
  profile.async_io = {.problem = "Operation not permitted"};
  const std::string text = format_probe(facts, profile);
  EXPECT_LE(std::ranges::count(text, '\n') + 1, 50);
  size_t longest = 0;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.find("/sys/fs") == std::string::npos) longest = std::max(longest, line.size());  // a path has no spaces
  }
  EXPECT_LE(longest, 100u);
  for (const char* part : {"refuses to pin", "NVIDIA H200, on NUMA node 1", "Permission denied", "caches flatter",
                           "not available: Operation not permitted", "192:1234.5"}) {
    EXPECT_THAT(text, testing::HasSubstr(part));
  }
}

}  // namespace
}  // namespace penstock
