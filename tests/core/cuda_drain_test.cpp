// Host memory may end once a registration has ended or a drain has returned, whatever has failed before: nothing that
// was queued touches it any more.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <thread>

#include "core/arena.h"
#include "core/cuda/cuda_device.h"
#include "core/error.h"
#include "fake_cuda_runtime.h"

namespace penstock {
namespace {

constexpr uint64_t kHostBytes = 16 * kKiB;

// A device with an offload that its stream holds back.
class CudaDrain : public testing::Test {
 protected:
  void open(PinMode pin, int slots = 4, bool is_threaded = true) {
    gate_.reset();
    runtime_ = std::make_unique<FakeCudaRuntime>(FakeCudaOptions{.threaded = is_threaded});
    device_ = std::make_unique<CudaDevice>(
        *runtime_,
        CudaDeviceOptions{.index = 1, .reserve_bytes = 0, .pin = pin, .staging = {.slot_bytes = 4096, .slots = slots}});
    registration_ = device_->register_host(std::vector<HostRegion>{{host_, HostUse::kState}});
    memory_ = device_->allocate("slab", kHostBytes);
    gate_ = runtime_->hold(static_cast<RawStream*>(device_->stream(LaneKind::kOffload)));
  }
  // Offloads to the host's memory; returns once the carrying thread waits for the first part.
  void offload_behind_the_gate(uint64_t bytes) {
    const int before = runtime_->counts().event_synchronizations;
    device_->copy(LaneKind::kOffload, host_.first(bytes), memory_.first(bytes));
    while (runtime_->counts().event_synchronizations == before) std::this_thread::yield();
  }
  void fail_a_launch() {
    EXPECT_THROW(device_->launch(LaneKind::kCompute, [] { throw std::runtime_error("out of memory"); }),
                 std::runtime_error);
  }
  // `wait` must not return while the gate is closed. What then uses the memory has it for itself, to the device's end.
  void expect_to_wait(const std::function<void()>& wait) {
    std::atomic<bool> is_over = false;
    std::thread waiting([&] {
      wait();
      std::ranges::fill(host_, std::byte{9});
      is_over = true;
    });
    for (int chance = 0; chance < 5000 && !is_over; ++chance) std::this_thread::yield();
    EXPECT_FALSE(is_over) << "a copy-out is still to come";
    gate_->open();
    waiting.join();
    expect_untouched_to_the_end();
  }
  void expect_untouched_to_the_end() {
    registration_.reset();
    device_.reset();
    EXPECT_EQ(std::ranges::count(host_, std::byte{9}), static_cast<int64_t>(kHostBytes));
    EXPECT_EQ(runtime_->leaks(), "");
  }

  Arena arena_{"host", kHostBytes};
  std::span<std::byte> host_ = arena_.allocate(kHostBytes);
  std::unique_ptr<FakeCudaRuntime> runtime_;
  std::unique_ptr<CudaDevice> device_;
  std::unique_ptr<HostRegistration> registration_;
  std::span<std::byte> memory_;
  std::unique_ptr<LaneGate> gate_;
};

class CudaDrainOfCopyOuts : public CudaDrain, public testing::WithParamInterface<PinMode> {};

TEST_P(CudaDrainOfCopyOuts, ARegistrationWaitsForThemAfterAFailedLaunch) {
  open(GetParam());
  offload_behind_the_gate(3 * 4096);
  fail_a_launch();
  expect_to_wait([&] { registration_.reset(); });
}

TEST_P(CudaDrainOfCopyOuts, ARegistrationWaitsForThemWithoutAFailureToo) {
  open(GetParam());
  offload_behind_the_gate(3 * 4096);
  expect_to_wait([&] { registration_.reset(); });
}

TEST_P(CudaDrainOfCopyOuts, ADrainWaitsForThemAfterAFailedLaunch) {
  open(GetParam());
  offload_behind_the_gate(3 * 4096);
  fail_a_launch();
  expect_to_wait([&] {
    device_->drain();
    device_->drain();
  });
}

INSTANTIATE_TEST_SUITE_P(Pinning, CudaDrainOfCopyOuts, testing::Values(PinMode::kTransfers, PinMode::kStaged),
                         [](const auto& mode) { return std::string(pin_mode_name(mode.param)); });

TEST_F(CudaDrain, EndsBeforeAnythingIsStaged) {
  open(PinMode::kTransfers);
  gate_->open();
  device_->drain();
  fail_a_launch();
  device_->drain();
}

TEST_F(CudaDrain, ALostDeviceHoldsNobody) {
  open(PinMode::kStaged);
  offload_behind_the_gate(3 * 4096);
  runtime_->lose_device();
  device_->drain();
  std::ranges::fill(host_, std::byte{9});
  expect_untouched_to_the_end();
}

// The issuing thread waits for a slot while another one drains.
TEST_F(CudaDrain, EndsWhileTheRingIsFull) {
  for (const bool is_failing : {false, true}) {
    open(PinMode::kStaged, 2);
    const int before = runtime_->counts().copies;
    std::atomic<bool> is_refused = false;
    std::thread issuing([&] {
      try {
        device_->copy(LaneKind::kOffload, host_, memory_);  // twice the ring
      } catch (const std::runtime_error&) {
        is_refused = true;
      }
    });
    while (runtime_->counts().copies < before + 2) std::this_thread::yield();
    if (is_failing) fail_a_launch();
    std::thread draining([&] { device_->drain(); });
    gate_->open();
    issuing.join();
    draining.join();
    EXPECT_EQ(is_refused, is_failing);
    device_->drain();
    std::ranges::fill(host_, std::byte{9});
    expect_untouched_to_the_end();
  }
}

// Nobody else moves the streams on: the drain itself must.
TEST_F(CudaDrain, RunsWhatIsQueued) {
  open(PinMode::kStaged, 4, false);
  gate_->open();
  device_->fill(LaneKind::kOffload, memory_, std::byte{9});
  device_->copy(LaneKind::kOffload, host_, memory_);
  device_->drain();
  expect_untouched_to_the_end();
}

// Copies that have not begun when the device ends never happen, and hold up no registration.
TEST_F(CudaDrain, ARegistrationMayOutliveCopyOutsThatAreSkipped) {
  open(PinMode::kStaged);
  std::ranges::fill(host_, std::byte{9});
  offload_behind_the_gate(kHostBytes);
  std::thread ending([&] { device_.reset(); });
  gate_->open();
  ending.join();
  registration_.reset();
  EXPECT_EQ(runtime_->leaks(), "");
}

}  // namespace
}  // namespace penstock
