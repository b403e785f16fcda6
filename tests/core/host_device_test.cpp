#include "core/host_device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <future>
#include <stdexcept>
#include <thread>

#include "core/bytes.h"
#include "core/error.h"
#include "core/float_mode.h"
#include "device_suite.h"

namespace penstock {
namespace {

constexpr LaneKind kFetch = LaneKind::kFetch;
constexpr LaneKind kCompute = LaneKind::kCompute;

class HostLaneGate final : public LaneGate {
 public:
  HostLaneGate(Device& device, LaneKind lane) {
    device.launch(lane, [opened = opened_.get_future().share()] { opened.wait(); });
  }
  ~HostLaneGate() override { open(); }
  void open() override {
    if (!std::exchange(is_open_, true)) opened_.set_value();
  }

 private:
  std::promise<void> opened_;
  bool is_open_ = false;
};

DeviceUnderTest host_under_test(std::string name, HostDeviceOptions options) {
  return {.name = std::move(name),
          .make_device =
              [options](uint64_t budget_bytes) {
                HostDeviceOptions budgeted = options;
                budgeted.budget_bytes = budget_bytes;
                return std::make_unique<HostDevice>(budgeted);
              },
          .hold_lane = [](Device& device, LaneKind lane) { return std::make_unique<HostLaneGate>(device, lane); }};
}

INSTANTIATE_TEST_SUITE_P(Host, DeviceSuite,
                         testing::Values(host_under_test("Unpaced", {}),
                                         host_under_test("Paced", {.h2d_gbps = 2, .d2h_gbps = 1, .latency_us = 3})),
                         [](const auto& under_test) { return under_test.param.name; });

TEST(HostDevice, CopyTimeIsBytesOverRatePlusLatency) {
  EXPECT_EQ(modelled_copy_seconds(123456, 0, 0), 0.0);
  EXPECT_DOUBLE_EQ(modelled_copy_seconds(25'000'000'000, 25, 0), 1.0);
  EXPECT_DOUBLE_EQ(modelled_copy_seconds(0, 25, 4), 4e-6);
  EXPECT_DOUBLE_EQ(modelled_copy_seconds(1'000'000, 10, 100), 2e-4);
  EXPECT_DOUBLE_EQ(modelled_copy_seconds(1'000'000, 0, 100), 1e-4);
}

TEST(HostDevice, EachLaneHasItsOwnRate) {
  const HostDeviceOptions options = {.h2d_gbps = 25, .d2h_gbps = 10, .latency_us = 5};
  EXPECT_DOUBLE_EQ(modelled_copy_seconds(options, kFetch, 50'000'000), 0.002 + 5e-6);
  EXPECT_DOUBLE_EQ(modelled_copy_seconds(options, LaneKind::kOffload, 50'000'000), 0.005 + 5e-6);
  EXPECT_EQ(modelled_copy_seconds(options, kCompute, 50'000'000), 0.0);
}

TEST(HostDevice, DescriptionNamesTheLink) {
  EXPECT_EQ(HostDevice({.budget_bytes = 3 * kGiB, .h2d_gbps = 25, .d2h_gbps = 12.5, .latency_us = 4}).description(),
            "emulated on the host, 3.00 GiB, fetch 25 GB/s, offload 12.5 GB/s, latency 4 us");
  EXPECT_EQ(HostDevice({}).description(), "emulated on the host, no memory limit, link as fast as memory");
}

TEST(HostDevice, LaunchesRunInOrderOnTheirLanesThread) {
  HostDevice device({});
  std::vector<int> order;
  std::vector<std::thread::id> threads(2);
  for (int i = 0; i < 100; ++i) device.launch(kCompute, [&order, i] { order.push_back(i); });
  device.launch(kCompute, [&] { threads[0] = std::this_thread::get_id(); });
  device.launch(kFetch, [&] { threads[1] = std::this_thread::get_id(); });
  device.synchronize_all();
  ASSERT_EQ(order.size(), 100u);
  EXPECT_TRUE(std::ranges::is_sorted(order));
  EXPECT_NE(threads[0], threads[1]);
  EXPECT_NE(threads[0], std::this_thread::get_id());
}

// After an error nothing more is touched, and no wait is left hanging.
TEST(HostDevice, ErrorSkipsQueuedWorkOnAllLanesAndCompletesEvents) {
  HostDevice device({});
  const std::unique_ptr<Event> computed = device.create_event();
  const std::unique_ptr<Event> fetched = device.create_event();
  std::vector<std::byte> memory(16, std::byte{1});
  const std::vector<std::byte> other(16, std::byte{2});
  bool launched = false;
  HostLaneGate gate(device, kCompute);
  device.launch(kCompute, [] { throw Error(ExitCode::kDevice, "lost"); });
  device.copy(kCompute, memory, other);
  device.record(kCompute, *computed);
  device.wait(kFetch, *computed);
  device.launch(kFetch, [&launched] { launched = true; });
  device.launch(kFetch, [] { throw std::runtime_error("never reached"); });
  device.record(kFetch, *fetched);
  gate.open();
  EXPECT_THROW(device.synchronize(*fetched), Error);
  EXPECT_THROW(device.synchronize_all(), Error);
  EXPECT_FALSE(launched);
  EXPECT_EQ(memory, std::vector<std::byte>(16, std::byte{1}));
}

TEST(HostDevice, ClosingSkipsWhatHasNotBegunAndStrandsNoLane) {
  bool launched = false;
  std::promise<void> opened;
  {
    LaneFailure failure;
    HostLane compute(kCompute, failure);
    HostLane fetch(kFetch, failure);  // ends first, and needs the compute lane's record
    const auto records = std::make_shared<EventRecords>();
    compute.run([&opened] { opened.get_future().wait(); });
    compute.run([&launched] { launched = true; });
    compute.record(records);
    fetch.wait(records, records->newest());
    failure.close();
    opened.set_value();
  }
  EXPECT_FALSE(launched);
}

TEST(HostDevice, EndsWithoutRunningWhatIsQueued) {
  struct OpensAtThreadEnd {
    std::promise<void>* opened = nullptr;
    ~OpensAtThreadEnd() {
      if (opened != nullptr) opened->set_value();
    }
  };
  bool launched = false;
  std::promise<void> opened;
  {
    HostDevice device({});
    device.launch(kCompute, [&opened] { opened.get_future().wait(); });
    device.launch(kCompute, [&launched] { launched = true; });
    // The device is surely closing when its first lane, fetch, has ended.
    device.launch(kFetch, [&opened] {
      thread_local OpensAtThreadEnd at_end;
      at_end.opened = &opened;
    });
    const std::unique_ptr<Event> armed = device.create_event();
    device.record(kFetch, *armed);
    device.synchronize(*armed);
  }
  EXPECT_FALSE(launched);
}

TEST(HostDevice, FirstErrorWins) {
  LaneFailure failure;
  EXPECT_NO_THROW(failure.throw_if_set());
  failure.set(std::make_exception_ptr(std::runtime_error("first")));
  failure.set(std::make_exception_ptr(std::runtime_error("second")));
  try {
    failure.throw_if_set();
    FAIL() << "nothing thrown";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "first");
  }
}

TEST(HostDevice, MayEndWithWorkQueued) {
  const std::vector<std::byte> from(1 << 16, std::byte{1});
  std::vector<std::byte> to(1 << 16);
  for (int round = 0; round < 50; ++round) {
    HostDevice device({});
    const std::unique_ptr<Event> event = device.create_event();
    for (int i = 0; i < 20; ++i) {
      device.copy(kFetch, to, from);
      device.record(kFetch, *event);
      device.wait(kCompute, *event);
    }
  }
}

TEST(HostDevice, TemporariesAreChargedToTheBudget) {
  HostDevice device({.budget_bytes = 1000});
  device.allocate("slab", 600);
  EXPECT_TRUE(device.charge_temporary(300));
  EXPECT_FALSE(device.charge_temporary(101));
  EXPECT_TRUE(device.charge_temporary(100));
  EXPECT_THROW(device.allocate("more", 1), Error);
  EXPECT_TRUE(device.charge_temporary(-350));
  EXPECT_EQ(device.memory_use().temporary_bytes, 50u);
  EXPECT_EQ(device.memory_use().temporary_peak_bytes, 400u);
  EXPECT_EQ(device.memory_use().arena_bytes, 600u);
  device.allocate("more", 350);
  EXPECT_FALSE(device.charge_temporary(1));
  EXPECT_TRUE(device.charge_temporary(-50));
  EXPECT_EQ(device.memory_use().temporary_bytes, 0u);
}

TEST(HostDevice, RefusedMappingGivesItsBudgetBack) {
  HostDevice device({});
  EXPECT_THROW(device.allocate("impossible", uint64_t{1} << 60), Error);
  EXPECT_EQ(device.memory_use().arena_bytes, 0u);
  EXPECT_TRUE(device.charge_temporary(INT64_MAX));
}

TEST(HostDevice, ChargesFromManyThreadsNeverPassTheBudget) {
  MemoryBudget budget(100);
  std::vector<std::thread> threads;
  std::atomic<int64_t> granted = 0;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) {
        if (budget.charge_temporary(30)) {
          granted += 30;
          if (i % 2 == 0) {
            granted -= 30;
            budget.charge_temporary(-30);
          }
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(budget.use().temporary_bytes, static_cast<uint64_t>(granted.load()));
  EXPECT_EQ(budget.use().temporary_bytes, 90u);
  EXPECT_LE(budget.use().temporary_peak_bytes, 90u);
}

TEST(HostDevice, LanesInheritTheFloatMode) {
  std::thread([] {  // the mode cannot be taken back: keep it off the other tests' thread
    set_flush_denormals();
    HostDevice device({});
    std::atomic<int> flushing = 0;
    for (int lane = 0; lane < kDeviceLaneCount; ++lane) {
      device.launch(static_cast<LaneKind>(lane), [&flushing] { flushing += flushes_denormals(); });
    }
    device.synchronize_all();
    EXPECT_EQ(flushing, flushes_denormals() ? kDeviceLaneCount : 0);
  })
      .join();
}

TEST(HostDeviceDeathTest, MisuseIsABug) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(HostDevice({.h2d_gbps = -1}), "check failed");
  EXPECT_DEATH(HostDevice({.latency_us = NAN}), "check failed");
  EXPECT_DEATH(MemoryBudget(10).charge_temporary(-1), "check failed");
}

}  // namespace
}  // namespace penstock
