#include "core/worker_team.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>

#include "core/float_mode.h"

namespace penstock {
namespace {

class WorkerTeamTest : public testing::TestWithParam<int> {};

TEST_P(WorkerTeamTest, RunsEveryBlockOnce) {
  WorkerTeam team(GetParam());
  EXPECT_EQ(team.thread_count(), GetParam());
  for (const int64_t blocks : {0, 1, 2, 3, 6, 7, 8, 1000}) {
    std::vector<std::atomic<int>> visits(static_cast<size_t>(blocks));
    team.run(blocks, [&](int64_t block) { ++visits[static_cast<size_t>(block)]; });
    for (const std::atomic<int>& count : visits) ASSERT_EQ(count, 1) << blocks << " blocks";
  }
}

TEST_P(WorkerTeamTest, ResultsAreVisibleToTheCaller) {
  WorkerTeam team(GetParam());
  std::vector<int64_t> values(500);
  for (int64_t round = 0; round < 200; ++round) {  // plain writes: a missing order shows under the thread sanitizer
    team.run(500, [&](int64_t block) { values[static_cast<size_t>(block)] += round; });
    ASSERT_EQ(values[499], round * (round + 1) / 2);
  }
}

TEST_P(WorkerTeamTest, MembersTakeContiguousRanges) {
  WorkerTeam team(GetParam());
  std::vector<std::thread::id> owners(100);
  team.run(100, [&](int64_t block) { owners[static_cast<size_t>(block)] = std::this_thread::get_id(); });
  EXPECT_EQ(owners[0], std::this_thread::get_id());
  int changes = 0;
  for (size_t i = 1; i < owners.size(); ++i) changes += owners[i] != owners[i - 1];
  EXPECT_EQ(changes, GetParam() - 1);
}

TEST_P(WorkerTeamTest, ExceptionReachesTheCallerAndTheTeamGoesOn) {
  WorkerTeam team(GetParam());
  for (const int64_t bad : {0, 50, 99}) {
    try {
      team.run(100, [bad](int64_t block) {
        if (block == bad) throw std::runtime_error("block " + std::to_string(block));
      });
      FAIL() << "nothing thrown";
    } catch (const std::runtime_error& error) {
      EXPECT_EQ(error.what(), "block " + std::to_string(bad));
    }
    std::atomic<int> visits = 0;
    team.run(100, [&](int64_t) { ++visits; });
    EXPECT_EQ(visits, 100);
  }
  EXPECT_THROW(team.run(100, [](int64_t) { throw std::runtime_error("all"); }), std::runtime_error);
}

INSTANTIATE_TEST_SUITE_P(Threads, WorkerTeamTest, testing::Range(1, 8));

TEST(WorkerTeam, WorkersInheritTheFloatMode) {
  std::thread([] {  // the mode cannot be taken back: keep it off the other tests' thread
    set_flush_denormals();
    WorkerTeam team(3);
    std::atomic<int> flushing = 0;
    team.run(3, [&](int64_t) { flushing += flushes_denormals(); });
    EXPECT_EQ(flushing, flushes_denormals() ? 3 : 0);
  })
      .join();
}

std::set<int> own_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  EXPECT_EQ(sched_getaffinity(0, sizeof set, &set), 0);
  std::set<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.insert(cpu);
  }
  return cpus;
}

// Affinity of each member, by member.
std::vector<std::set<int>> members_cpus(WorkerTeam& team) {
  std::vector<std::set<int>> cpus(static_cast<size_t>(team.thread_count()));
  team.run(team.thread_count(), [&](int64_t member) { cpus[static_cast<size_t>(member)] = own_cpus(); });
  return cpus;
}

TEST(WorkerTeam, BindsItsWorkersAndLeavesTheCallerAlone) {
  const std::set<int> all = own_cpus();
  const int first = *all.begin(), last = *all.rbegin();
  WorkerTeam team({.thread_count = 4, .cpus = {{first}, {last}, {}, {first, last}}});
  EXPECT_EQ(members_cpus(team), (std::vector<std::set<int>>{all, {last}, all, {first, last}}));
  EXPECT_EQ(own_cpus(), all);
}

TEST(WorkerTeam, UnboundByDefault) {
  WorkerTeam team(3);
  EXPECT_EQ(members_cpus(team), std::vector<std::set<int>>(3, own_cpus()));
}

TEST(WorkerTeam, ARefusedBindingIsOneNotice) {
  const std::set<int> all = own_cpus();
  std::vector<std::string> notices;
  const auto notice = [&](const std::string& line) { notices.push_back(line); };
  const int absent = 100'000;  // beyond every machine's CPUs
  WorkerTeam team({.thread_count = 3, .cpus = {{absent}, {absent}, {absent}}, .notice = notice});
  ASSERT_EQ(notices.size(), 1u);
  EXPECT_NE(notices[0].find("CPU 100000"), std::string::npos) << notices[0];
  EXPECT_EQ(members_cpus(team), std::vector<std::set<int>>(3, all));
}

TEST(WorkerTeamDeathTest, BindingsAreForEveryMember) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(WorkerTeam({.thread_count = 2, .cpus = {{0}}}), "check failed");
}

TEST(WorkerTeamDeathTest, MisuseIsABug) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(WorkerTeam team(0), "check failed");
  EXPECT_DEATH(
      {
        WorkerTeam team(1);
        team.run(1, [&](int64_t) { team.run(1, [](int64_t) {}); });
      },
      "check failed");
}

TEST(FloatMode, FlushesDenormalsOnThisThreadOnly) {
#if defined(__x86_64__)
  const auto half_of_smallest_normal = [] {
    volatile float smallest = 0x1p-126f;
    return smallest * 0.5f;
  };
  std::thread([&] {
    EXPECT_FALSE(flushes_denormals());
    EXPECT_NE(half_of_smallest_normal(), 0.0f);
    set_flush_denormals();
    EXPECT_TRUE(flushes_denormals());
    EXPECT_EQ(half_of_smallest_normal(), 0.0f);
  }).join();
  EXPECT_FALSE(flushes_denormals());
#else
  GTEST_SKIP() << "skipped 1 test: the mode exists on x86 only";
#endif
}

}  // namespace
}  // namespace penstock
