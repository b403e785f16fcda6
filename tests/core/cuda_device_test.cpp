#include "core/cuda/cuda_device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>
#include <thread>

#include "core/arena.h"
#include "core/error.h"
#include "core/trace.h"
#include "fake_cuda_runtime.h"

namespace penstock {
namespace {

constexpr LaneKind kFetch = LaneKind::kFetch;
constexpr LaneKind kCompute = LaneKind::kCompute;
constexpr LaneKind kOffload = LaneKind::kOffload;

// Host memory that is not announced, with bytes that differ from their neighbours.
std::vector<std::byte> pattern(size_t bytes) {
  std::vector<std::byte> made(bytes);
  for (size_t i = 0; i < bytes; ++i) made[i] = static_cast<std::byte>(i * 37 + (i >> 8));
  return made;
}

class CudaDeviceTest : public testing::Test {
 protected:
  CudaDevice& open(CudaDeviceOptions options) {
    options.reserve_bytes = std::min<uint64_t>(options.reserve_bytes, kMiB);
    device_ = std::make_unique<CudaDevice>(runtime_, options);
    return *device_;
  }
  std::unique_ptr<HostRegistration> announce(std::span<std::byte> bytes) {
    return device_->register_host(std::vector<HostRegion>{{bytes, HostUse::kTransfers}});
  }
  // There and back again, through device memory.
  void expect_round_trip(std::span<std::byte> host) {
    const std::span<std::byte> memory = device_->allocate("slab", host.size());
    const std::vector<std::byte> expected = pattern(host.size());
    std::ranges::copy(expected, host.begin());
    device_->copy(kFetch, memory, host);
    device_->synchronize_all();
    std::ranges::fill(host, std::byte{0});
    device_->copy(kOffload, host, memory);
    device_->synchronize_all();
    EXPECT_TRUE(std::ranges::equal(host, expected));
  }
  void TearDown() override {
    device_.reset();
    EXPECT_EQ(runtime_.leaks(), "");
    EXPECT_EQ(runtime_.counts().pageable_copies, 0);
  }

  FakeCudaRuntime runtime_{FakeCudaOptions{}};
  std::unique_ptr<CudaDevice> device_;
};

TEST_F(CudaDeviceTest, LongCopiesAreCutIntoPieces) {
  Arena arena("host", 100 * kKiB);
  open({.copy_piece_bytes = 32 * kKiB});
  const std::span<std::byte> host = arena.allocate(100 * kKiB);
  const auto registration = announce(host);
  const std::span<std::byte> memory = device_->allocate("slab", 100 * kKiB);
  device_->copy(kFetch, memory, host);
  EXPECT_EQ(runtime_.counts().copies, 4);
  device_->copy(kOffload, host.first(64 * kKiB), memory.first(64 * kKiB));
  EXPECT_EQ(runtime_.counts().copies, 6);
  EXPECT_EQ(runtime_.counts().longest_copy_bytes, 32 * kKiB);
  device_->copy(kCompute, memory.first(40 * kKiB), memory.subspan(40 * kKiB, 40 * kKiB));
  EXPECT_EQ(runtime_.counts().copies, 7) << "nothing waits for a copy within the device";
  device_->synchronize_all();
}

TEST_F(CudaDeviceTest, CopiesEndAtTheBordersOfPins) {
  Arena arena("host", 64 * kKiB);
  open({.pin_piece_bytes = 16 * kKiB});
  const std::span<std::byte> host = arena.allocate(64 * kKiB);
  const auto registration = announce(host);
  EXPECT_EQ(runtime_.counts().registrations, 4);
  const std::span<std::byte> memory = device_->allocate("slab", 64 * kKiB);
  device_->copy(kFetch, memory, host);
  EXPECT_EQ(runtime_.counts().copies, 4);
  device_->copy(kFetch, memory.first(2), host.subspan(16 * kKiB - 1, 2));
  EXPECT_EQ(runtime_.counts().copies, 6);
  device_->copy(kFetch, memory.first(16 * kKiB), host.subspan(16 * kKiB, 16 * kKiB));
  EXPECT_EQ(runtime_.counts().copies, 7);
  device_->synchronize_all();
  expect_round_trip(host.subspan(100, 50'000));
}

TEST_F(CudaDeviceTest, MemoryThatIsNotPinnedGoesThroughTheRing) {
  open({.staging = {.slot_bytes = 4096, .slots = 3}});
  std::vector<std::byte> host = pattern(100'000);  // eight times the ring
  expect_round_trip(host);
  EXPECT_EQ(runtime_.counts().registrations, 2);
  EXPECT_EQ(runtime_.counts().longest_copy_bytes, 4096u);
  expect_round_trip(std::span(host).first(4096));
  expect_round_trip(std::span(host).first(1));
}

// A slot is filled again only once the link, or the copying thread, has emptied it.
TEST_F(CudaDeviceTest, AFullRingBlocksUntilTheLaneMovesOn) {
  constexpr int kSlots = 3;
  open({.staging = {.slot_bytes = 4096, .slots = kSlots}});
  const std::span<std::byte> memory = device_->allocate("slab", 100'000);
  const std::vector<std::byte> expected = pattern(memory.size());
  std::vector<std::byte> host = expected;
  for (const LaneKind lane : {kFetch, kOffload}) {
    const std::unique_ptr<LaneGate> gate = runtime_.hold(static_cast<RawStream*>(device_->stream(lane)));
    const int before = runtime_.counts().copies;
    std::thread issuing(
        [&] { lane == kFetch ? device_->copy(lane, memory, host) : device_->copy(lane, host, memory); });
    while (runtime_.counts().copies < before + kSlots) std::this_thread::yield();
    for (int chance = 0; chance < 5000; ++chance) std::this_thread::yield();
    EXPECT_EQ(runtime_.counts().copies, before + kSlots) << lane_name(lane);
    gate->open();
    issuing.join();
    device_->synchronize_all();
    if (lane == kFetch) std::ranges::fill(host, std::byte{0});
  }
  EXPECT_EQ(host, expected);
}

TEST_F(CudaDeviceTest, OneCopyMayBePinnedInPart) {
  Arena arena("host", 64 * kKiB);
  open({.staging = {.slot_bytes = 4096, .slots = 3}});
  const std::span<std::byte> host = arena.allocate(64 * kKiB);
  const std::vector<HostRegion> regions{{host.subspan(8192, 4096), HostUse::kTransfers},
                                        {host.subspan(40960, 8192), HostUse::kTransfers}};
  const auto registration = device_->register_host(regions);
  expect_round_trip(host);
  expect_round_trip(host.subspan(9000, 40000));
}

TEST_F(CudaDeviceTest, EachThreadMakesTheDeviceCurrentOnce) {
  open({.index = 1});
  const int before = runtime_.counts().current_device_changes;
  const std::span<std::byte> memory = device_->allocate("slab", 10);
  for (int i = 0; i < 10; ++i) device_->fill(kCompute, memory, std::byte{1});
  EXPECT_EQ(runtime_.counts().current_device_changes, before);
  std::thread([&] {
    for (int i = 0; i < 10; ++i) device_->fill(kFetch, memory, std::byte{1});
    device_->synchronize_all();
  }).join();
  EXPECT_EQ(runtime_.counts().current_device_changes, before + 1);
  CudaDevice other(runtime_, {.index = 0, .reserve_bytes = 0});
  device_->fill(kCompute, memory, std::byte{1});  // this thread had left the device
  const std::span<std::byte> other_memory = other.allocate("slab", 10);
  device_->synchronize_all();
  other.fill(kCompute, other_memory, std::byte{1});
  other.synchronize_all();
}

TEST_F(CudaDeviceTest, TheBudgetIsWhatIsFreeLessTheReserve) {
  EXPECT_EQ(open({}).memory_use().budget_bytes, 63 * kMiB);
  EXPECT_EQ(open({.budget_bytes = 5 * kMiB}).memory_use().budget_bytes, 5 * kMiB);
  EXPECT_EQ(CudaDevice(runtime_, {}).memory_use().budget_bytes, 0u) << "less is free than is to stay free";
}

TEST_F(CudaDeviceTest, TemporariesOfLibTorchCount) {
  open({.budget_bytes = 1000});
  device_->report_temporaries([] { return TemporaryUse{.bytes = 300, .peak_bytes = 400}; });
  EXPECT_EQ(device_->memory_use().temporary_bytes, 300u);
  EXPECT_EQ(device_->memory_use().temporary_peak_bytes, 400u);
  EXPECT_THROW(device_->allocate("slab", 701), Error);
  device_->allocate("slab", 700);
  EXPECT_EQ(device_->memory_use().arena_bytes, 700u);
  EXPECT_THROW(device_->allocate("slab", 1), Error);
}

TEST_F(CudaDeviceTest, OutOfMemoryIsNotTheDevicesEnd) {
  open({});
  for (int n = 1; n <= 3; ++n) {
    runtime_.refuse_allocation(n);
    for (int call = 1; call <= 3; ++call) {
      if (call != n) {
        device_->allocate("slab", 100);
        continue;
      }
      try {
        device_->allocate("workspace", 100);
        ADD_FAILURE() << "not refused";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ExitCode::kDoesNotFit);
        const std::string text = error.what();
        EXPECT_NE(text.find("'workspace'"), std::string::npos) << text;
        EXPECT_NE(text.find("device.memory_gb"), std::string::npos) << text;
        EXPECT_EQ(text.find('\n'), std::string::npos) << text;
      }
    }
  }
  EXPECT_EQ(device_->memory_use().arena_bytes, 600u);
  device_->synchronize_all();
}

TEST_F(CudaDeviceTest, LaunchCallsItsWorkAtOnceOnTheCallingThread) {
  open({});
  std::thread::id thread;
  device_->launch(kCompute, [&thread] { thread = std::this_thread::get_id(); });
  EXPECT_EQ(thread, std::this_thread::get_id());
}

TEST_F(CudaDeviceTest, AKernelThatDoesNotStartIsAnError) {
  open({});
  device_->launch(kCompute, [this] {
    int count = 0;
    runtime_.fail_call(1, CudaStatus::kNotReady);  // what a query of busy work leaves behind
    runtime_.get_device_count(&count);
  });
  try {
    // A launch says nothing; CUDA keeps the error for whoever asks.
    device_->launch(kCompute, [this] { runtime_.free(nullptr); });
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kDevice);
    EXPECT_NE(std::string(error.what()).find("starting a kernel"), std::string::npos) << error.what();
  }
  EXPECT_THROW(device_->synchronize_all(), Error);
}

TEST_F(CudaDeviceTest, ALostDeviceIsTheErrorWhateverTheWorkThrows) {
  open({});
  try {
    device_->launch(kCompute, [this] {
      runtime_.lose_device();
      throw std::runtime_error("something of LibTorch");
    });
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kDevice) << error.what();
  }
  EXPECT_THROW(device_->synchronize_all(), Error);
}

TEST_F(CudaDeviceTest, WhoWaitsForALostDeviceIsTold) {
  for (const PinMode pin : {PinMode::kAll, PinMode::kStaged}) {
    FakeCudaRuntime runtime({.threaded = true});
    auto device = std::make_unique<CudaDevice>(runtime, CudaDeviceOptions{.reserve_bytes = 0, .pin = pin});
    const std::span<std::byte> memory = device->allocate("slab", 100);
    std::vector<std::byte> host(100);
    const std::unique_ptr<Event> event = device->create_event();
    const std::unique_ptr<LaneGate> gate = runtime.hold(static_cast<RawStream*>(device->stream(kOffload)));
    device->copy(kOffload, host, memory);
    device->record(kOffload, *event);
    std::thread loser([&runtime] { runtime.lose_device(); });
    EXPECT_THROW(device->synchronize(*event), Error);
    loser.join();
    EXPECT_THROW(device->synchronize_all(), Error);
    EXPECT_THROW(device->create_event(), Error);
  }
}

TEST_F(CudaDeviceTest, EventsAndRegistrationsMayOutliveTheDevice) {
  Arena arena("host", 8192);
  open({});
  auto registration = announce(arena.allocate(8192));
  auto event = device_->create_event();
  auto timing_event = device_->create_timing_event();
  device_->record(kFetch, *event);
  device_->record(kFetch, *timing_event);
  device_.reset();
  event.reset();
  registration.reset();
  timing_event.reset();
}

TEST_F(CudaDeviceTest, ARegistrationWaitsForItsCopies) {
  Arena arena("host", 64 * kKiB);
  const std::span<std::byte> host = arena.allocate(64 * kKiB);
  open({.copy_piece_bytes = 1000});
  auto registration = announce(host);
  const std::span<std::byte> memory = device_->allocate("slab", 64 * kKiB);
  const std::unique_ptr<LaneGate> gate = runtime_.hold(static_cast<RawStream*>(device_->stream(kFetch)));
  device_->copy(kFetch, memory, host);
  const int before = runtime_.counts().calls;
  std::thread ending([&] { registration.reset(); });
  while (runtime_.counts().calls < before + 2) std::this_thread::yield();
  gate->open();
  ending.join();
  device_->synchronize_all();
}

TEST_F(CudaDeviceTest, TheClocksOriginIsTakenAnew) {
  const auto context = std::make_shared<CudaContext>(runtime_, 0);
  context->enter();
  for (const int64_t life_ns : {int64_t{-1}, kClockOriginLifeNs}) {
    CudaClock clock(context, life_ns);
    const OwnedStream stream(context);
    const auto first = clock.origin();
    EXPECT_EQ(clock.origin(), first);
    clock.renew();
    EXPECT_EQ(clock.origin() == first, life_ns > 0);
    for (int i = 0; i < 100; ++i) {
      clock.renew();
      const auto origin = clock.origin();
      const OwnedEvent event(context, EventUse::kTime);
      const int64_t before_ns = TraceRecorder::now_ns();
      context->check(runtime_.record_event(event.raw(), stream.raw()), "recording");
      context->check(runtime_.synchronize_event(event.raw()), "waiting");
      const int64_t after_ns = TraceRecorder::now_ns();
      // The origin is known to half of what taking it took, which a busy machine makes long.
      EXPECT_GE(event_time_ns(*origin, event), before_ns - 20'000'000);
      EXPECT_LE(event_time_ns(*origin, event), after_ns + 20'000'000);
    }
  }
}

// Inside a step nothing waits: the clock's origin, however old, is taken anew only when a time is read.
TEST_F(CudaDeviceTest, RecordingATimeWaitsForNothing) {
  open({.clock_origin_life_ns = -1});
  const auto event = device_->create_timing_event();
  const auto waits_of = [&](const auto& work) {
    const int before = runtime_.counts().event_synchronizations;
    work();
    return runtime_.counts().event_synchronizations - before;
  };
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(waits_of([&] { device_->record(kFetch, *event); }), 0);
    EXPECT_GT(waits_of([&] { device_->time_ns(*event); }), 1) << "for the event, and for a new origin";
  }
}

TEST_F(CudaDeviceTest, SomebodyElseMayChangeTheThreadsDevice) {
  open({.index = 1, .pin = PinMode::kStaged});
  const std::span<std::byte> memory = device_->allocate("slab", 1000);
  const std::vector<std::byte> expected = pattern(memory.size());
  std::vector<std::byte> host = expected;
  device_->copy(kFetch, memory, host);
  EXPECT_TRUE(choose_cuda_device(runtime_, 0).info.has_value());
  device_->copy(kFetch, memory, host);
  EXPECT_TRUE(choose_cuda_device(runtime_, 0).info.has_value());
  device_->synchronize_all();
  std::ranges::fill(host, std::byte{0});
  device_->copy(kOffload, host, memory);
  EXPECT_TRUE(choose_cuda_device(runtime_, 0).info.has_value());
  device_->drain();
  EXPECT_EQ(host, expected);
  EXPECT_TRUE(choose_cuda_device(runtime_, 0).info.has_value());  // and the device's end finds its device too
}

TEST_F(CudaDeviceTest, DescriptionNamesTheGpu) {
  EXPECT_EQ(open({.budget_bytes = 5 * kMiB}).description(),
            "GPU 0: Fake GPU, 64.0 MiB, compute capability 9.0, driver for CUDA 13.0, budget 5.00 MiB, host memory "
            "pinned: all");
}

using CudaDeviceDeathTest = CudaDeviceTest;

TEST_F(CudaDeviceDeathTest, LanesHaveOneDirection) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  open({});
  const std::span<std::byte> memory = device_->allocate("slab", 100);
  std::vector<std::byte> host(100);
  EXPECT_DEATH(device_->copy(kFetch, host, memory), "check failed");
  EXPECT_DEATH(device_->copy(kFetch, memory, memory), "check failed");
  EXPECT_DEATH(device_->copy(kOffload, memory, host), "check failed");
  EXPECT_DEATH(device_->copy(kCompute, memory, host), "check failed");
  EXPECT_DEATH(device_->fill(kCompute, host, std::byte{0}), "check failed");
}

}  // namespace
}  // namespace penstock
