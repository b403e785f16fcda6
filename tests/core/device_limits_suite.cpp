// The half of DeviceSuite that is about errors, the budget and calls that are bugs.
#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <thread>

#include "core/error.h"
#include "device_suite.h"

namespace penstock {

constexpr LaneKind kFetch = LaneKind::kFetch;
constexpr LaneKind kCompute = LaneKind::kCompute;
constexpr LaneKind kOffload = LaneKind::kOffload;

TEST_P(DeviceSuite, ErrorOfALaunchSurfacesAndStays) {
  const std::span<std::byte> on_device = allocate();
  const std::unique_ptr<Event> event = device_->create_event();
  const std::unique_ptr<TimingEvent> timing_event = device_->create_timing_event();
  device_->record(kFetch, *timing_event);
  try {
    device_->launch(kCompute, [] { throw std::runtime_error("first"); });
    device_->launch(kCompute, [] { throw std::runtime_error("second"); });
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "first");  // legal at once too
  }
  for (int call = 0; call < 2; ++call) {
    try {
      device_->synchronize_all();
      ADD_FAILURE() << "no error in call " << call;
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "first");
    }
  }
  EXPECT_THROW(device_->copy(kFetch, on_device, host(1)), std::runtime_error);
  EXPECT_THROW(device_->fill(kFetch, on_device, std::byte{1}), std::runtime_error);
  EXPECT_THROW(device_->record(kOffload, *timing_event), std::runtime_error);
  EXPECT_THROW(device_->time_ns(*timing_event), std::runtime_error);
  EXPECT_THROW(device_->launch(kCompute, [] {}), std::runtime_error);
  EXPECT_THROW(device_->record(kOffload, *event), std::runtime_error);
  EXPECT_THROW(device_->wait(kOffload, *event), std::runtime_error);
  EXPECT_THROW(device_->synchronize(*event), std::runtime_error);
}

// After a drain the host's memory may be used for something else, or end.
TEST_P(DeviceSuite, DrainAfterAnErrorLeavesTheHostsMemoryAlone) {
  device_->drain();  // of nothing
  const std::span<std::byte> memory = allocate();
  const std::span<std::byte> target = host(1);
  const std::unique_ptr<LaneGate> gate = hold(kOffload);
  device_->copy(kOffload, target, memory);
  try {
    device_->launch(kCompute, [] { throw std::runtime_error("first"); });
  } catch (const std::runtime_error&) {
  }
  std::atomic<bool> is_drained = false;
  std::thread draining([&] {
    device_->drain();
    std::ranges::fill(target, std::byte{9});
    is_drained = true;
  });
  // A drain that returns too early does so now, and the copy comes after it.
  for (int chance = 0; chance < 5000 && !is_drained; ++chance) std::this_thread::yield();
  gate->open();
  draining.join();
  device_->drain();
  try {
    device_->synchronize_all();
    ADD_FAILURE() << "no error";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "first");
  }
  registration_.reset();
  device_.reset();
  EXPECT_EQ(std::ranges::count(target, std::byte{9}), static_cast<int64_t>(target.size()));
}

TEST_P(DeviceSuite, BudgetIsCountedAndRefuses) {
  allocate();
  EXPECT_EQ(device_->memory_use().budget_bytes, kBudgetBytes);
  EXPECT_EQ(device_->memory_use().arena_bytes, kBytes);
  try {
    device_->allocate("weight_slot[1]", kBudgetBytes - kBytes + 1);
    FAIL() << "not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kDoesNotFit);
    const std::string text = error.what();
    for (const std::string& part :
         {std::string("'weight_slot[1]'"), format_bytes(kBudgetBytes - kBytes + 1), format_bytes(kBytes),
          format_bytes(kBudgetBytes), std::string("device.memory_gb")}) {
      EXPECT_NE(text.find(part), std::string::npos) << part << " in: " << text;
    }
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  }
  EXPECT_EQ(device_->memory_use().arena_bytes, kBytes) << "a refusal takes nothing";
  EXPECT_EQ(device_->allocate("rest", kBudgetBytes - kBytes).size(), kBudgetBytes - kBytes);
  EXPECT_THROW(device_->allocate("one more", 1), Error);
}

TEST_P(DeviceSuite, UseAfterSealAndBadCallsAreBugs) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  device_->seal();
  EXPECT_DEATH(allocate(), "check failed: !sealed_");
  EXPECT_DEATH(device_->register_host({}), "check failed: !sealed_");
  EXPECT_DEATH(device_->time_ns(*device_->create_timing_event()), "check failed");
  EXPECT_DEATH(device_->launch(LaneKind::kHost, [] {}), "check failed");
  EXPECT_DEATH(device_->copy(kFetch, host(1), host(1).first(3)), "check failed.*4103 vs 3");
}

TEST_P(DeviceSuite, RegionsMustAscendFromPages) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  Arena arena("regions", 4 * kBytes);
  const std::span<std::byte> bytes = arena.allocate(arena.capacity_bytes());
  const HostRegion low{bytes.first(4096), HostUse::kState}, high{bytes.subspan(4096, 5), HostUse::kTransfers};
  const std::vector<HostRegion> good{low, high}, falling{high, low}, twice{low, low};
  const std::vector<HostRegion> between_pages{{bytes.subspan(1, 9), HostUse::kState}};
  EXPECT_NE(device_->register_host(good), nullptr);
  EXPECT_DEATH(device_->register_host(falling), "check failed");
  EXPECT_DEATH(device_->register_host(twice), "check failed");
  EXPECT_DEATH(device_->register_host(between_pages), "check failed");
}

TEST_P(DeviceSuite, Describes) { EXPECT_FALSE(device_->description().empty()); }

}  // namespace penstock
