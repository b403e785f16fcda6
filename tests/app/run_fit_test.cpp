// What does not fit is refused with the byte table, whichever limit binds, and before anything is mapped.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "app/run_memory.h"
#include "app/run_setup.h"
#include "config_texts.h"
#include "core/bytes.h"
#include "core/system_limits.h"
#include "temporary_folder.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kReserveBytes = 512 * kMiB;  // as run_fit.cpp keeps it on the host device

class RunFit : public testing::Test {
 protected:
  void write(const std::string& path, const std::string& text) {
    fs::create_directories((root_.path() / path).parent_path());
    std::ofstream(root_.path() / path) << text;
  }
  void write_available(uint64_t bytes) {
    write("proc/meminfo", "MemAvailable: " + std::to_string(bytes / kKiB) + " kB\n");
  }
  void write_group2(const std::string& group, uint64_t bytes) {
    write("proc/self/cgroup", "0::/outer/job\n");
    write("proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    write("sys/fs/cgroup" + group + "/memory.max", std::to_string(bytes) + "\n");
    write("sys/fs/cgroup" + group + "/memory.current", "0\n");
  }
  void write_group1(uint64_t bytes) {
    write("proc/self/cgroup", "4:memory:/docker/box\n");
    write("proc/self/mountinfo", "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
    write("sys/fs/cgroup/memory/docker/memory.limit_in_bytes", std::to_string(bytes) + "\n");
    write("sys/fs/cgroup/memory/docker/memory.usage_in_bytes", "0\n");
  }

  // About 80 GiB of state; on the machine below root_.
  static RunSetup setup_at(const fs::path& root) {
    std::vector<std::string> overrides = {"device.backend=host", "optimizer.threads=1"};
    for (const char* shape : {"hidden_size=4096", "intermediate_size=11008", "num_hidden_layers=30"}) {
      overrides.push_back(std::string("model.") + shape);
    }
    RunSetup setup = set_up_run(load_text(kMinimalConfig, overrides));
    setup.system_root = root;
    return setup;
  }
  static RunPlan plan_of(const RunSetup& setup) {
    return plan_run(training_shape(setup), step_settings(setup, Purpose::kTrain));
  }
  static void check(const RunSetup& setup) { require_fit(setup, plan_of(setup), 0); }

  void expect_refused(const std::string& source) {
    const RunSetup setup = setup_at(root_.path());
    const uint64_t mapped_before = read_mapped_bytes().address_space_bytes;
    try {
      check(setup);
      ADD_FAILURE() << "not refused";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kDoesNotFit);
      const std::string text = error.what();
      const std::string line = text.substr(0, text.find('\n'));
      EXPECT_NE(line.find(source + ", less 512 MiB for the system"), std::string::npos) << line;
      EXPECT_NE(text.find("\n  optimizer state "), std::string::npos) << text;
    }
    EXPECT_LT(read_mapped_bytes().address_space_bytes, mapped_before + 256 * kMiB);
  }

  TemporaryFolder root_;
};

TEST_F(RunFit, FreeMemory) {
  write_available(1000 * kGiB);
  EXPECT_NO_THROW(check(setup_at(root_.path())));
  write_available(60 * kGiB);
  expect_refused("MemAvailable of /proc/meminfo");
}

TEST_F(RunFit, GroupOfVersion2) {
  write_available(1000 * kGiB);
  write_group2("/outer/job", 900 * kGiB);
  EXPECT_NO_THROW(check(setup_at(root_.path())));
  write_group2("/outer", 60 * kGiB);
  expect_refused("/sys/fs/cgroup/outer/memory.max");
}

TEST_F(RunFit, GroupOfVersion1) {
  write_available(1000 * kGiB);
  write_group1(900 * kGiB);
  EXPECT_NO_THROW(check(setup_at(root_.path())));
  write_group1(60 * kGiB);
  expect_refused("/sys/fs/cgroup/memory/docker/memory.limit_in_bytes");
}

// To the byte: what is planned, and the reserve.
TEST_F(RunFit, TheReserveStaysFree) {
  write_available(1000 * kGiB);
  const RunSetup setup = setup_at(root_.path());
  const uint64_t needed = memory_plan(plan_of(setup), 0).all_bytes();
  write_group2("/outer", needed + kReserveBytes);
  EXPECT_NO_THROW(check(setup));
  write_group2("/outer", needed + kReserveBytes - 1);
  EXPECT_THROW(check(setup), Error);
}

TEST_F(RunFit, TheUsersLimitIsNamed) {
  write_available(1000 * kGiB);
  RunSetup setup = setup_at(root_.path());
  setup.config.memory.host_memory_gb = 10;
  try {
    check(setup);
    FAIL() << "not refused";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("(memory.host_memory_gb)"), std::string::npos) << error.what();
  }
}

// Limits of a process cannot be raised again: a child has them.
void expect_refused_in_child(__rlimit_resource_t resource, uint64_t limit_bytes, const std::string& source,
                             const std::function<void()>& check) {
  const pid_t child = fork();
  if (child == 0) {
    const rlimit limit = {limit_bytes, limit_bytes};
    if (setrlimit(resource, &limit) != 0) _exit(2);
    try {
      check();
    } catch (const Error& error) {
      const std::string text = error.what();
      const bool has_table = text.find("\n  optimizer state ") != std::string::npos;
      _exit(error.code() == ExitCode::kDoesNotFit && has_table && text.find(source) != std::string::npos ? 0 : 3);
    } catch (...) {
      _exit(5);
    }
    _exit(4);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0) << source;
}

TEST_F(RunFit, ResourceLimits) {
  write_available(1000 * kGiB);
  const MappedBytes mapped = read_mapped_bytes();
  if (mapped.address_space_bytes == 0) GTEST_SKIP() << "skipped 1 test: the system has no /proc/self/status";
  if (mapped.address_space_bytes > 1000 * kGiB) GTEST_SKIP() << "skipped 1 test: a sanitizer has mapped terabytes";
  write("proc/self/status", "VmSize: " + std::to_string(mapped.address_space_bytes / kKiB) +
                                " kB\nVmData: " + std::to_string(mapped.data_bytes / kKiB) + " kB\n");
  const RunSetup setup = setup_at(root_.path());
  const RunPlan plan = plan_of(setup);
  const auto check_plan = [&] { require_fit(setup, plan, 0); };
  EXPECT_NO_THROW(check_plan());
  expect_refused_in_child(RLIMIT_AS, mapped.address_space_bytes + 60 * kGiB, "RLIMIT_AS (ulimit -v)", check_plan);
  expect_refused_in_child(RLIMIT_DATA, mapped.data_bytes + 60 * kGiB, "RLIMIT_DATA (ulimit -d)", check_plan);
}

// What was free when the plan was checked may be gone while the memory is touched.
TEST_F(RunFit, MemoryThatIsGoneMeanwhileStopsTheTouching) {
  write_available(1000 * kGiB);
  RunSetup setup = set_up_run(load_text(kMinimalConfig, {"device.backend=host", "optimizer.threads=1"}));
  setup.system_root = root_.path();
  const RunPlan plan = plan_of(setup);
  EXPECT_NO_THROW(map_model_memory(setup, plan.shape, plan.planner.buffers()));
  write_available(0);
  try {
    map_model_memory(setup, plan.shape, plan.planner.buffers());
    FAIL() << "not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kDoesNotFit);
    EXPECT_NE(std::string(error.what()).find("MemAvailable of /proc/meminfo leaves 0 B"), std::string::npos)
        << error.what();
  }
}

TEST_F(RunFit, KeysReachArenaAndTeam) {
  RunSetup setup = set_up_run(load_text(
      kMinimalConfig, {"device.backend=host", "optimizer.threads=3", "memory.huge_pages=false", "memory.numa=0"}));
  EXPECT_EQ(setup.optimizer_threads, 3);
  EXPECT_EQ(setup.memory_node, 0);
  EXPECT_FALSE(arena_options(setup).huge_pages);
  EXPECT_EQ(arena_options(setup).node, 0);
  EXPECT_EQ(team_options(setup).thread_count, 3);
  setup = set_up_run(load_text(kMinimalConfig, {"device.backend=host"}));
  EXPECT_TRUE(arena_options(setup).huge_pages);
  EXPECT_EQ(arena_options(setup).node, std::nullopt);
  setup.optimizer_threads = 2;
  setup.optimizer_cpus = {{0}, {1}};
  EXPECT_EQ(team_options(setup).cpus, setup.optimizer_cpus);
  EXPECT_EQ(engine_options(setup).optimizer_cpus, setup.optimizer_cpus);
  EXPECT_THROW(set_up_run(load_text(kMinimalConfig, {"device.backend=host", "memory.numa=4095"})), Error);
}

}  // namespace
}  // namespace penstock
