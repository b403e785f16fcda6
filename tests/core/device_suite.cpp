#include "device_suite.h"

#include <algorithm>
#include <numeric>

#include "core/trace.h"

namespace penstock {

constexpr LaneKind kFetch = LaneKind::kFetch;
constexpr LaneKind kCompute = LaneKind::kCompute;
constexpr LaneKind kOffload = LaneKind::kOffload;

void DeviceSuite::SetUp() {
  GetParam().require();
  if (IsSkipped()) return;
  device_ = GetParam().make_device(kBudgetBytes);
  // Two regions that touch, of both uses: what is true of one is true of the other.
  const std::span<std::byte> all = host_memory_.allocate(host_memory_.capacity_bytes());
  const std::span<std::byte> first = all.first(kTransferBytes), second = all.subspan(kTransferBytes);
  registration_ =
      device_->register_host(std::vector<HostRegion>{{first, HostUse::kTransfers}, {second, HostUse::kState}});
  unused_ = {first, second};
}

void DeviceSuite::TearDown() {
  registration_.reset();
  device_.reset();
  if (!IsSkipped()) GetParam().check_after_end();
}

std::span<std::byte> DeviceSuite::host(uint8_t value) {
  std::span<std::byte>& region = unused_[next_region_++ % unused_.size()];
  const std::span<std::byte> bytes = region.first(kBytes);
  region = region.subspan(kBytes);
  std::ranges::fill(bytes, std::byte{value});
  return bytes;
}

int DeviceSuite::read_back(std::span<const std::byte> device_memory) {
  device_->synchronize_all();
  const std::span<std::byte> bytes = host(0).first(device_memory.size());
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
  const std::span<std::byte> there = host(0);
  for (size_t i = 0; i < kBytes; ++i) there[i] = static_cast<std::byte>(i * 31 >> 3);
  const std::span<std::byte> back = host(0);
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
  EXPECT_TRUE(std::ranges::equal(back, there));
}

TEST_P(DeviceSuite, EachLaneIsFifo) {
  const std::span<std::byte> fetched = allocate();
  const std::span<std::byte> source = allocate();
  const std::span<std::byte> moved = allocate();
  const std::span<std::byte> left = allocate();
  std::vector<std::span<std::byte>> offloaded;
  for (uint8_t value = 1; value <= 100; ++value) {
    device_->copy(kFetch, fetched, host(value));
    device_->fill(kCompute, source, std::byte{value});
    device_->copy(kCompute, moved, source);
    device_->fill(kOffload, left, std::byte{value});
    device_->copy(kOffload, offloaded.emplace_back(host(0)), left);
  }
  EXPECT_EQ(read_back(fetched), 100);
  EXPECT_EQ(read_back(moved), 100);
  for (size_t i = 0; i < offloaded.size(); ++i) {
    EXPECT_EQ(std::to_integer<int>(offloaded[i].front()), static_cast<int>(i) + 1);
    EXPECT_EQ(std::to_integer<int>(offloaded[i].back()), static_cast<int>(i) + 1);
  }
}

TEST_P(DeviceSuite, FillsExactlyTheBytesAsked) {
  const std::span<std::byte> memory = allocate();
  device_->fill(kCompute, memory.subspan(3, 100), std::byte{0xEE});
  device_->fill(kCompute, std::span<std::byte>(), std::byte{1});
  EXPECT_EQ(read_back(memory.first(3)), 0);
  EXPECT_EQ(read_back(memory.subspan(3, 100)), 0xEE);
  EXPECT_EQ(read_back(memory.subspan(103)), 0);
}

TEST_P(DeviceSuite, EnqueueingReturnsBeforeTheWorkIsDone) {
  const std::unique_ptr<Event> event = device_->create_event();
  const std::span<std::byte> memory = allocate();
  const std::unique_ptr<LaneGate> gate = hold(kFetch);
  device_->copy(kFetch, memory, host(1));
  device_->record(kFetch, *event);
  device_->wait(kCompute, *event);
  device_->fill(kCompute, memory, std::byte{2});
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
    device_->fill(kOffload, memory, std::byte{value});
    device_->copy(kOffload, target, memory);
    device_->record(kOffload, *event);
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

// An offload is over for every lane that waited for it, and for every host thread that waits for that lane.
TEST_P(DeviceSuite, OffloadedBytesMayBeFetchedAgain) {
  const std::unique_ptr<Event> event = device_->create_event();
  const std::unique_ptr<Event> fetched = device_->create_event();
  const std::span<std::byte> memory = allocate();
  const std::span<std::byte> again = allocate();
  const std::span<std::byte> there = host(0);
  for (uint8_t value = 1; value <= 50; ++value) {
    device_->fill(kOffload, memory, std::byte{value});
    device_->copy(kOffload, there, memory);
    device_->record(kOffload, *event);
    device_->wait(kFetch, *event);
    device_->copy(kFetch, again, there);
    device_->record(kFetch, *fetched);
    device_->synchronize(*fetched);
    ASSERT_EQ(std::to_integer<int>(there.front()), value);
    ASSERT_EQ(std::to_integer<int>(there.back()), value);
    device_->wait(kOffload, *fetched);
    if (value % 10 == 0) {
      ASSERT_EQ(read_back(again), value);
    }
  }
}

// Device clocks are mapped to ours with a small error.
constexpr int64_t kClockToleranceNs = 1'000'000;

TEST_P(DeviceSuite, TimingEventsTellWhenTheLanePassedThem) {
  const std::unique_ptr<TimingEvent> before = device_->create_timing_event();
  const std::unique_ptr<TimingEvent> after = device_->create_timing_event();
  const int64_t start_ns = TraceRecorder::now_ns();
  device_->record(kFetch, *before);
  EXPECT_GE(device_->time_ns(*before), start_ns - kClockToleranceNs);
  EXPECT_LE(device_->time_ns(*before), TraceRecorder::now_ns() + kClockToleranceNs);
  const std::unique_ptr<LaneGate> gate = hold(kFetch);
  device_->record(kFetch, *after);
  const int64_t recorded_ns = TraceRecorder::now_ns();
  while (TraceRecorder::now_ns() < recorded_ns + 5 * kClockToleranceNs) give_time(kOffload);
  const int64_t opened_ns = TraceRecorder::now_ns();
  gate->open();
  EXPECT_GE(device_->time_ns(*after), opened_ns - kClockToleranceNs);
  EXPECT_LE(device_->time_ns(*after), TraceRecorder::now_ns() + kClockToleranceNs);
  EXPECT_LT(device_->time_ns(*before), device_->time_ns(*after));
  device_->record(kOffload, *before);  // the newest record counts
  EXPECT_GE(device_->time_ns(*before), opened_ns - kClockToleranceNs);
}

TEST_P(DeviceSuite, TimingEventsMayBeRecordedAgainAndEndEarly) {
  const std::unique_ptr<TimingEvent> event = device_->create_timing_event();
  int64_t last_ns = TraceRecorder::now_ns();
  for (int round = 0; round < 20; ++round) {
    const std::unique_ptr<TimingEvent> ends_early = device_->create_timing_event();
    const LaneKind lane = round % 2 == 0 ? kFetch : kOffload;
    device_->record(lane, *event);
    device_->record(lane, *ends_early);
    const int64_t time_ns = device_->time_ns(*event);
    EXPECT_GE(time_ns, last_ns - kClockToleranceNs);
    last_ns = time_ns;
  }
  device_->synchronize_all();
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(DeviceSuite);

}  // namespace penstock
