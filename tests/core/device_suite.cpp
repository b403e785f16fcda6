#include "device_suite.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "core/bytes.h"
#include "core/error.h"

namespace penstock {

constexpr LaneKind kFetch = LaneKind::kFetch;
constexpr LaneKind kCompute = LaneKind::kCompute;
constexpr LaneKind kOffload = LaneKind::kOffload;

std::span<std::byte> DeviceSuite::host(uint8_t value) {
  host_memory_.push_back(std::make_unique<std::vector<std::byte>>(kBytes, std::byte{value}));
  return *host_memory_.back();
}

int DeviceSuite::read_back(std::span<const std::byte> device_memory) {
  device_->synchronize_all();
  std::vector<std::byte> bytes(device_memory.size());
  device_->copy(kOffload, bytes, device_memory);
  device_->synchronize_all();
  const bool same = std::ranges::all_of(bytes, [&](std::byte byte) { return byte == bytes[0]; });
  return same ? std::to_integer<int>(bytes[0]) : -1;
}

void DeviceSuite::give_time(LaneKind idle_lane) {
  const std::unique_ptr<Event> event = device_->create_event();
  for (int round = 0; round < 200; ++round) {
    device_->launch(idle_lane, [] {});
    device_->record(idle_lane, *event);
    device_->synchronize(*event);
  }
}

TEST_P(DeviceSuite, MemoryIsZeroedAlignedAndSeparate) {
  const std::span<std::byte> first = allocate();
  const std::span<std::byte> second = allocate();
  EXPECT_EQ(first.size(), kBytes);
  EXPECT_EQ(reinterpret_cast<uint64_t>(first.data()) % 4096, 0u);
  EXPECT_EQ(reinterpret_cast<uint64_t>(second.data()) % 4096, 0u);
  EXPECT_EQ(read_back(first), 0);
  device_->copy(kFetch, first, host(9));
  EXPECT_EQ(read_back(first), 9);
  EXPECT_EQ(read_back(second), 0);
}

TEST_P(DeviceSuite, CopiesCarryEveryByte) {
  std::vector<std::byte> there(kBytes);
  for (size_t i = 0; i < kBytes; ++i) there[i] = static_cast<std::byte>(i * 31 >> 3);
  std::vector<std::byte> back(kBytes);
  const std::span<std::byte> first = allocate();
  const std::span<std::byte> second = allocate();
  const std::unique_ptr<Event> fetched = device_->create_event();
  const std::unique_ptr<Event> moved = device_->create_event();
  device_->copy(kFetch, first, there);
  device_->record(kFetch, *fetched);
  device_->wait(kCompute, *fetched);
  device_->copy(kCompute, second, first);
  device_->record(kCompute, *moved);
  device_->wait(kOffload, *moved);
  device_->copy(kOffload, back, second);
  device_->copy(kOffload, std::span<std::byte>(), std::span<const std::byte>());
  device_->synchronize_all();
  EXPECT_EQ(back, there);
}

TEST_P(DeviceSuite, EachLaneIsFifo) {
  for (const LaneKind lane : {kFetch, kCompute, kOffload}) {
    const std::span<std::byte> memory = allocate();
    for (uint8_t value = 1; value <= 100; ++value) device_->copy(lane, memory, host(value));
    EXPECT_EQ(read_back(memory), 100) << lane_name(lane);
  }
}

TEST_P(DeviceSuite, EnqueueingReturnsBeforeTheWorkIsDone) {
  const std::unique_ptr<Event> event = device_->create_event();
  const std::span<std::byte> memory = allocate();
  const std::unique_ptr<LaneGate> gate = hold(kFetch);
  device_->copy(kFetch, memory, host(1));
  device_->record(kFetch, *event);
  device_->wait(kCompute, *event);
  device_->copy(kCompute, memory, host(2));
  gate->open();  // not reached if a call above blocked
  EXPECT_EQ(read_back(memory), 2);
}

TEST_P(DeviceSuite, LanesRunIndependently) {
  const std::unique_ptr<Event> event = device_->create_event();
  const std::unique_ptr<LaneGate> gate = hold(kFetch);
  device_->launch(kCompute, [] {});
  device_->record(kCompute, *event);
  device_->synchronize(*event);  // does not wait for the held lane
  gate->open();
  device_->synchronize_all();
}

TEST_P(DeviceSuite, WaitOrdersLanes) {
  const std::unique_ptr<Event> event = device_->create_event();
  const std::span<std::byte> source = allocate();
  const std::span<std::byte> copy = allocate();
  const std::unique_ptr<LaneGate> gate = hold(kFetch);
  device_->copy(kFetch, source, host(5));
  device_->record(kFetch, *event);
  device_->wait(kCompute, *event);
  device_->copy(kCompute, copy, source);
  give_time(kOffload);
  gate->open();
  EXPECT_EQ(read_back(copy), 5);
}

TEST_P(DeviceSuite, SynchronizeWaitsForTheRecord) {
  const std::unique_ptr<Event> event = device_->create_event();
  const std::span<std::byte> memory = allocate();
  const std::span<std::byte> target = host(0);
  for (uint8_t value = 1; value <= 50; ++value) {
    device_->copy(kFetch, memory, host(value));
    device_->copy(kFetch, target, memory);
    device_->record(kFetch, *event);
    device_->synchronize(*event);
    ASSERT_EQ(std::to_integer<int>(target.back()), value);
  }
}

// CUDA's trap: the executor's tickets exist because of it.
TEST_P(DeviceSuite, WaitOnAnUnrecordedEventIsNoWait) {
  const std::unique_ptr<Event> event = device_->create_event();
  const std::unique_ptr<Event> done = device_->create_event();
  const std::span<std::byte> source = allocate();
  const std::span<std::byte> copy = allocate();
  const std::unique_ptr<LaneGate> gate = hold(kFetch);
  device_->wait(kCompute, *event);
  device_->synchronize(*event);
  device_->copy(kFetch, source, host(5));
  device_->record(kFetch, *event);  // too late for the wait
  device_->copy(kCompute, copy, source);
  device_->record(kCompute, *done);
  device_->synchronize(*done);
  gate->open();
  EXPECT_EQ(read_back(copy), 0);
}

TEST_P(DeviceSuite, WaitTakesTheNewestRecord) {
  const std::unique_ptr<Event> event = device_->create_event();
  const std::span<std::byte> source = allocate();
  const std::span<std::byte> copy = allocate();
  device_->copy(kFetch, source, host(1));
  device_->record(kFetch, *event);
  device_->synchronize(*event);
  const std::unique_ptr<LaneGate> gate = hold(kFetch);
  device_->copy(kFetch, source, host(2));
  device_->record(kFetch, *event);
  device_->wait(kCompute, *event);
  device_->copy(kCompute, copy, source);
  give_time(kOffload);
  gate->open();
  EXPECT_EQ(read_back(copy), 2);
}

TEST_P(DeviceSuite, WaitIgnoresRecordsMadeAfterTheCall) {
  const std::unique_ptr<Event> event = device_->create_event();
  const std::unique_ptr<Event> done = device_->create_event();
  const std::span<std::byte> source = allocate();
  const std::span<std::byte> copy = allocate();
  device_->copy(kFetch, source, host(1));
  device_->record(kFetch, *event);
  device_->wait(kCompute, *event);
  const std::unique_ptr<LaneGate> gate = hold(kFetch);
  device_->copy(kFetch, source, host(2));
  device_->record(kFetch, *event);
  device_->copy(kCompute, copy, source);
  device_->record(kCompute, *done);
  device_->synchronize(*done);  // while the second record is held back
  gate->open();
  EXPECT_EQ(read_back(copy), 1);
}

TEST_P(DeviceSuite, RecordOnAnotherLaneDoesNotSatisfyAnEarlierWait) {
  const std::unique_ptr<Event> event = device_->create_event();
  const std::span<std::byte> source = allocate();
  const std::span<std::byte> copy = allocate();
  const std::unique_ptr<LaneGate> gate = hold(kFetch);
  device_->copy(kFetch, source, host(5));
  device_->record(kFetch, *event);
  device_->wait(kCompute, *event);
  device_->copy(kCompute, copy, source);
  device_->record(kOffload, *event);  // completes first
  device_->synchronize(*event);
  give_time(kOffload);
  gate->open();
  EXPECT_EQ(read_back(copy), 5);
}

TEST_P(DeviceSuite, EventMayEndBeforeItsRecordIsReached) {
  const std::span<std::byte> memory = allocate();
  const std::unique_ptr<LaneGate> gate = hold(kFetch);
  {
    const std::unique_ptr<Event> event = device_->create_event();
    device_->copy(kFetch, memory, host(3));
    device_->record(kFetch, *event);
    device_->wait(kCompute, *event);
  }
  gate->open();
  EXPECT_EQ(read_back(memory), 3);
}

TEST_P(DeviceSuite, ErrorOfALaunchSurfacesAndStays) {
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
  const std::unique_ptr<Event> event = device_->create_event();
  const std::span<std::byte> memory = host(0);
  EXPECT_THROW(device_->copy(kFetch, memory, host(1)), std::runtime_error);
  EXPECT_THROW(device_->launch(kCompute, [] {}), std::runtime_error);
  EXPECT_THROW(device_->record(kOffload, *event), std::runtime_error);
  EXPECT_THROW(device_->wait(kOffload, *event), std::runtime_error);
  EXPECT_THROW(device_->synchronize(*event), std::runtime_error);
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
  EXPECT_DEATH(device_->launch(LaneKind::kHost, [] {}), "check failed");
  EXPECT_DEATH(device_->copy(kFetch, host(1), host(1).first(3)), "check failed.*4103 vs 3");
}

TEST_P(DeviceSuite, Describes) { EXPECT_FALSE(device_->description().empty()); }

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(DeviceSuite);

}  // namespace penstock
