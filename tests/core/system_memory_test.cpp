#include "core/system_memory.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>

#include "core/bytes.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

constexpr const char* kNoLimit1 = "9223372036854771712";
constexpr const char* kMount2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
constexpr const char* kMount1 =
    "29 23 0:25 / /sys/fs/cgroup/cpu rw shared:3 - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n";

// A made-up root directory.
class SystemMemory : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "penstock-memory-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
  }
  void TearDown() override { fs::remove_all(root_); }

  void write(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  void write_available_kib(uint64_t kib) {
    write("proc/meminfo", "MemTotal:       99999999 kB\nMemFree:               1 kB\nMemAvailable:   " +
                              std::to_string(kib) + " kB\nBuffers:               2 kB\n");
  }
  void write_group2(const std::string& group, const std::string& limit, const std::string& use) {
    write("sys/fs/cgroup" + group + "/memory.max", limit + "\n");
    write("sys/fs/cgroup" + group + "/memory.current", use + "\n");
  }
  void write_group1(const std::string& group, const std::string& limit, const std::string& use) {
    write("sys/fs/cgroup/memory" + group + "/memory.limit_in_bytes", limit + "\n");
    write("sys/fs/cgroup/memory" + group + "/memory.usage_in_bytes", use + "\n");
  }
  void expect(uint64_t available_bytes, const std::string& source) {
    const HostMemory memory = read_host_memory(root_);
    EXPECT_EQ(memory.available_bytes, available_bytes);
    EXPECT_EQ(memory.source, source);
  }

  fs::path root_;
};

TEST_F(SystemMemory, NothingToRead) { expect(UINT64_MAX, "no limit known"); }

TEST_F(SystemMemory, WithoutGroupsMemAvailableBinds) {
  write_available_kib(5000);
  expect(5000 * kKiB, "MemAvailable of /proc/meminfo");
}

TEST_F(SystemMemory, Version2Nested) {
  write_available_kib(8 * kMiB);
  write("proc/self/cgroup", "0::/user.slice/job\n");
  write("proc/self/mountinfo", kMount2);
  write_group2("/user.slice/job", "max", "7");
  expect(8 * kGiB, "MemAvailable of /proc/meminfo");

  write_group2("/user.slice/job", "4000", "1000");
  expect(3000, "/sys/fs/cgroup/user.slice/job/memory.max");

  write_group2("/user.slice", "2500", "600");  // the parent binds
  expect(1900, "/sys/fs/cgroup/user.slice/memory.max");

  write_group2("", "1800", "0");  // the mount's top too
  expect(1800, "/sys/fs/cgroup/memory.max");

  write_group2("/elsewhere", "10", "0");  // not above us
  write_group2("/user.slice/job/child", "10", "0");
  expect(1800, "/sys/fs/cgroup/memory.max");
}

TEST_F(SystemMemory, UseOverTheLimitLeavesNothing) {
  write("proc/self/cgroup", "0::/job\n");
  write("proc/self/mountinfo", kMount2);
  write_group2("/job", "100", "150");
  expect(0, "/sys/fs/cgroup/job/memory.max");
}

TEST_F(SystemMemory, DroppableCacheIsNotUse) {
  write("proc/self/cgroup", "0::/job\n");
  write("proc/self/mountinfo", kMount2);
  write_group2("/job", "4000", "3000");
  write("sys/fs/cgroup/job/memory.stat", "anon 500\ninactive_file 2000\nactive_file 500\n");
  expect(3000, "/sys/fs/cgroup/job/memory.max");
  write("sys/fs/cgroup/job/memory.stat", "inactive_file 9000\n");  // read at another moment than the use
  expect(4000, "/sys/fs/cgroup/job/memory.max");
}

TEST_F(SystemMemory, Version1Nested) {
  write_available_kib(8 * kMiB);
  write("proc/self/cgroup", "9:name=systemd:/wrong\n4:cpu,memory:/docker/box\n0::/\n");
  write("proc/self/mountinfo", kMount1);
  write_group1("", kNoLimit1, "12345");
  write_group1("/docker", kNoLimit1, "12345");
  write_group1("/docker/box", kNoLimit1, "12345");
  expect(8 * kGiB, "MemAvailable of /proc/meminfo");

  write_group1("/docker/box", "9000", "1000");
  write("sys/fs/cgroup/memory/docker/box/memory.stat", "inactive_file 1\ntotal_inactive_file 400\n");
  expect(8400, "/sys/fs/cgroup/memory/docker/box/memory.limit_in_bytes");

  write_group1("/docker", "8000", "3000");
  expect(5000, "/sys/fs/cgroup/memory/docker/memory.limit_in_bytes");
}

// A container sees the host's path in /proc/self/cgroup, but only its own part of the tree.
TEST_F(SystemMemory, MountInsideAContainer) {
  write("proc/self/cgroup", "4:memory:/docker/box/inner\n");
  write("proc/self/mountinfo", "35 31 0:32 /docker/box /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
  write_group1("", "9000", "1000");
  expect(8000, "/sys/fs/cgroup/memory/memory.limit_in_bytes");
  write_group1("/inner", "7000", "1000");
  expect(6000, "/sys/fs/cgroup/memory/inner/memory.limit_in_bytes");
}

TEST_F(SystemMemory, GroupOutsideOfTheMountFallsBackToItsTop) {
  write("proc/self/cgroup", "0::/../other\n");
  write("proc/self/mountinfo", kMount2);
  write_group2("", "5000", "1000");
  write("sys/fs/other/memory.max", "10\n");  // a file of that name, but no group
  expect(4000, "/sys/fs/cgroup/memory.max");
}

TEST_F(SystemMemory, HybridTakesTheSmallerVersion) {
  write("proc/self/cgroup", "4:memory:/a\n0::/b\n");
  write("proc/self/mountinfo", std::string(kMount1) + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
  write_group1("/a", "9000", "1000");
  write("sys/fs/cgroup/unified/b/memory.max", "6000\n");  // without memory.current: all of it
  expect(6000, "/sys/fs/cgroup/unified/b/memory.max");
}

TEST_F(SystemMemory, EveryLimitAboveUsIsListed) {
  write("proc/self/cgroup", "4:memory:/a/b\n");
  write("proc/self/mountinfo", kMount1);
  write_group1("", kNoLimit1, "100");
  write_group1("/a", "9000", "1000");
  write_group1("/a/b", "5000", "6000");
  const std::vector<GroupLimit> limits = read_group_limits(root_);
  ASSERT_EQ(limits.size(), 2u);  // what version 1 writes for "no limit" is none
  EXPECT_EQ(limits[0].path, "/sys/fs/cgroup/memory/a/memory.limit_in_bytes");
  EXPECT_EQ(limits[0].limit_bytes, 9000u);
  EXPECT_EQ(limits[0].available_bytes, 8000u);
  EXPECT_EQ(limits[1].path, "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes");
  EXPECT_EQ(limits[1].available_bytes, 0u);
}

TEST_F(SystemMemory, NonsenseSetsNoLimit) {
  write("proc/meminfo", "MemAvailable:\nMemAvailable: many kB\n");
  write("proc/self/cgroup", "nonsense\n0::/job\n:\n\n");
  write("proc/self/mountinfo", std::string("short line\n1 2 3 - 4\n") + kMount2);
  write_group2("/job", "12 apples", "3");
  expect(UINT64_MAX, "no limit known");
}

TEST(SystemMemoryHere, ThisMachineHasSome) {
  const HostMemory memory = read_host_memory();
  EXPECT_GT(memory.available_bytes, kMiB);
  EXPECT_LT(memory.available_bytes, kGiB << 20) << memory.source;
}

}  // namespace
}  // namespace penstock
