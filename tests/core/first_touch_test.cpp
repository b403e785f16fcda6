#include "core/first_touch.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <numeric>

#include "core/arena.h"
#include "core/error.h"
#include "fake_host_memory.h"

namespace penstock {
namespace {

constexpr uint64_t kPage = 4096;
constexpr int kPopulateWrite = 23;

HostMemory plenty() { return {UINT64_MAX, "nothing"}; }

// Pages of the range that are in memory.
uint64_t resident_pages(std::span<std::byte> bytes) {
  std::vector<unsigned char> state(align_up(bytes.size(), kPage) / kPage);
  EXPECT_EQ(mincore(bytes.data(), bytes.size(), state.data()), 0);
  return static_cast<uint64_t>(std::ranges::count_if(state, [](unsigned char page) { return (page & 1) != 0; }));
}

// The kernel of this machine may know MADV_POPULATE_WRITE or not: each way is forced.
class FirstTouch : public testing::TestWithParam<bool> {
 protected:
  struct OldKernel final : HostMemoryCalls {
    int map(void** memory, uint64_t bytes) override { return system_host_memory().map(memory, bytes); }
    int unmap(void* memory, uint64_t bytes) override { return system_host_memory().unmap(memory, bytes); }
    int advise(void* memory, uint64_t bytes, int advice) override {
      return advice == kPopulateWrite ? EINVAL : system_host_memory().advise(memory, bytes, advice);
    }
    int prefer_node(void*, uint64_t, int) override { return ENOSYS; }
  };
  TouchOptions options() {
    return {.available = plenty, .calls = GetParam() ? static_cast<HostMemoryCalls*>(&old_) : &system_host_memory()};
  }
  OldKernel old_;
};

TEST_P(FirstTouch, BringsEveryPageOfEveryRegionAndNoOther) {
  for (const int threads : {1, 3}) {
    Arena arena("test", 9 * kMiB, {.huge_pages = false});
    const std::span<std::byte> first = arena.allocate(5 * kMiB - 1000), hole = arena.allocate(kMiB),
                               second = arena.allocate(3 * kPage), empty = arena.allocate(0);
    WorkerTeam team(threads);
    touch_fresh({first, second, empty}, team, options());
    EXPECT_EQ(resident_pages(first), 5 * kMiB / kPage);
    EXPECT_EQ(resident_pages(second), 3u);
    EXPECT_EQ(resident_pages(hole), 0u);
  }
}

TEST_P(FirstTouch, KeepsValues) {
  Arena arena("test", 3 * kMiB);
  const std::span<std::byte> bytes = arena.allocate(3 * kMiB);
  for (uint64_t i = 0; i < bytes.size(); i += 511) bytes[i] = static_cast<std::byte>(i % 251);
  const std::vector<std::byte> before(bytes.begin(), bytes.end());
  WorkerTeam team(2);
  touch_fresh({bytes}, team, options());
  EXPECT_TRUE(std::ranges::equal(bytes, before));
}

INSTANTIATE_TEST_SUITE_P(OldKernel, FirstTouch, testing::Bool());

class TouchSteps : public testing::Test {
 protected:
  Arena arena_{"test", 64 * kMiB, {.huge_pages = false}};
  WorkerTeam team_{2};
  std::vector<std::span<std::byte>> regions_ = {arena_.allocate(11 * kMiB + 1), arena_.allocate(kPage),
                                                arena_.allocate(20 * kMiB)};
  uint64_t total_bytes_ = 31 * kMiB + kPage + 1;
};

TEST_F(TouchSteps, LooksAgainBeforeEveryStepAndShowsProgress) {
  int looks = 0;
  std::vector<uint64_t> done;
  touch_fresh(regions_, team_,
              {.step_bytes = 8 * kMiB,
               .available =
                   [&] {
                     ++looks;
                     return plenty();
                   },
               .progress =
                   [&](uint64_t done_bytes, uint64_t total_bytes) {
                     EXPECT_EQ(total_bytes, total_bytes_);
                     EXPECT_EQ(static_cast<size_t>(looks), done.size() + 1);
                     done.push_back(done_bytes);
                   }});
  ASSERT_EQ(done.size(), 4u);
  EXPECT_TRUE(std::is_sorted(done.begin(), done.end()));
  EXPECT_EQ(done.front(), 8 * kMiB);
  EXPECT_EQ(done.back(), total_bytes_);
}

TEST_F(TouchSteps, StopsWhereTheRestNoLongerFits) {
  for (int bad_look = 1; bad_look <= 4; ++bad_look) {
    int looks = 0;
    uint64_t done = 0;
    const TouchOptions options{.step_bytes = 8 * kMiB,
                               .available =
                                   [&] {
                                     // Just enough at every look but the bad one.
                                     const uint64_t rest = total_bytes_ - done;
                                     return HostMemory{++looks == bad_look ? rest - 1 : rest, "some limit"};
                                   },
                               .progress = [&](uint64_t done_bytes, uint64_t) { done = done_bytes; }};
    try {
      touch_fresh(regions_, team_, options);
      FAIL() << "look " << bad_look << " was not refused";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kDoesNotFit);
      const std::string text = error.what();
      EXPECT_NE(text.find("some limit leaves " + format_bytes(total_bytes_ - done - 1)), std::string::npos) << text;
      EXPECT_EQ(text.find('\n'), std::string::npos);
      EXPECT_EQ(looks, bad_look);
    }
  }
}

TEST(FirstTouchFaults, EveryRefusedPageIsOneError) {
  FakeHostMemory counting;
  const auto touch = [](FakeHostMemory& system) {
    Arena arena("test", 9 * kMiB, {.calls = &system});
    WorkerTeam team(2);
    touch_fresh({arena.allocate(9 * kMiB)}, team, {.available = plenty, .calls = &system});
  };
  touch(counting);
  const int calls = counting.calls(MemoryCall::kAdvise);
  ASSERT_GE(calls, 2 + 5);  // two wishes of the arena, five huge pages
  for (int n = 3; n <= calls; ++n) {
    FakeHostMemory system;
    system.refuse(MemoryCall::kAdvise, n, ENOMEM);
    try {
      touch(system);
      FAIL() << "call " << n << " was not refused";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kDoesNotFit);
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    }
    EXPECT_EQ(system.mapped_bytes(), 0u);
  }
}

TEST(FirstTouchDeathTest, RegionsStartOnPages) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  Arena arena("test", 2 * kPage);
  const std::span<std::byte> bytes = arena.allocate(2 * kPage);
  EXPECT_DEATH(
      {
        WorkerTeam team(1);
        touch_fresh({bytes.subspan(1)}, team, {.available = plenty});
      },
      "check failed");
}

}  // namespace
}  // namespace penstock
