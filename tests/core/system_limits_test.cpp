#include "core/system_limits.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "core/bytes.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

class SystemLimitsFiles : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "penstock-limits-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
  }
  void TearDown() override { fs::remove_all(root_); }
  void write(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  fs::path root_;
};

TEST_F(SystemLimitsFiles, HugePages) {
  EXPECT_EQ(read_huge_pages(root_), HugePages::kUnknown);
  const std::string path = "sys/kernel/mm/transparent_hugepage/enabled";
  write(path, "[always] madvise never\n");
  EXPECT_EQ(read_huge_pages(root_), HugePages::kAlways);
  write(path, "always [madvise] never\n");
  EXPECT_EQ(read_huge_pages(root_), HugePages::kMadvise);
  write(path, "always madvise [never]\n");
  EXPECT_EQ(read_huge_pages(root_), HugePages::kNever);
  write(path, "always madvise never\n");
  EXPECT_EQ(read_huge_pages(root_), HugePages::kUnknown);
}

TEST_F(SystemLimitsFiles, Governor) {
  EXPECT_EQ(read_governor(root_), "");
  write("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n");
  EXPECT_EQ(read_governor(root_), "powersave");
}

TEST_F(SystemLimitsFiles, NodeOfADevice) {
  EXPECT_EQ(read_device_node("0000:65:00.0", root_), std::nullopt);
  write("sys/bus/pci/devices/0000:6a:00.0/numa_node", "1\n");
  EXPECT_EQ(read_device_node("0000:6A:00.0", root_), 1);  // CUDA writes capitals
  write("sys/bus/pci/devices/0000:6a:00.0/numa_node", "-1\n");
  EXPECT_EQ(read_device_node("0000:6a:00.0", root_), std::nullopt);
}

TEST_F(SystemLimitsFiles, MappedBytes) {
  EXPECT_EQ(read_mapped_bytes(root_).address_space_bytes, 0u);
  write("proc/self/status", "Name:\tx y\nVmPeak:\t   99 kB\nVmSize:\t   40 kB\nVmData:\t   12 kB\n");
  EXPECT_EQ(read_mapped_bytes(root_).address_space_bytes, 40 * kKiB);
  EXPECT_EQ(read_mapped_bytes(root_).data_bytes, 12 * kKiB);
}

TEST(SystemLimits, TheTighterMappingLimitBinds) {
  EXPECT_EQ(read_mapping_limit({}, {.address_space_bytes = 5}).available_bytes, UINT64_MAX);
  const MappingLimit space = read_mapping_limit({.address_space_bytes = 100, .data_bytes = 100}, {70, 20});
  EXPECT_EQ(space.available_bytes, 30u);
  EXPECT_EQ(space.source, "RLIMIT_AS (ulimit -v)");
  const MappingLimit data = read_mapping_limit({.address_space_bytes = 100, .data_bytes = 90}, {50, 60});
  EXPECT_EQ(data.available_bytes, 30u);
  EXPECT_EQ(data.source, "RLIMIT_DATA (ulimit -d)");
  EXPECT_EQ(read_mapping_limit({.data_bytes = 10}, {0, 20}).available_bytes, 0u);  // already over it
}

// Limits cannot be raised again: a child has them.
TEST(SystemLimits, AreThisProcess) {
  const pid_t child = fork();
  if (child == 0) {
    const rlimit space = {3'000'000'000, 3'000'000'000};
    const rlimit data = {2'000'000'000, 2'000'000'000};
    const rlimit locked = {65536, 65536};
    bool good = setrlimit(RLIMIT_AS, &space) == 0 && setrlimit(RLIMIT_DATA, &data) == 0 &&
                setrlimit(RLIMIT_MEMLOCK, &locked) == 0;
    const SystemLimits limits = read_system_limits();
    good = good && limits.address_space_bytes == 3'000'000'000 && limits.data_bytes == 2'000'000'000 &&
           limits.memlock_bytes == 65536;
    _exit(good ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

// Private writable mappings count against both limits as soon as they exist, touched or not.
TEST(SystemLimits, MappedBytesFollowAMapping) {
  const MappedBytes before = read_mapped_bytes();
  if (before.address_space_bytes == 0) GTEST_SKIP() << "skipped 1 test: the system has no /proc/self/status";
  constexpr uint64_t kBytes = 256 * kMiB;
  void* mapping = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(mapping, MAP_FAILED);
  const MappedBytes after = read_mapped_bytes();
  munmap(mapping, kBytes);
  EXPECT_GE(after.address_space_bytes, before.address_space_bytes + kBytes);
  EXPECT_GE(after.data_bytes, before.data_bytes + kBytes);
}

}  // namespace
}  // namespace penstock
