#include "core/host_device.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <thread>
#include <utility>

#include "core/bytes.h"
#include "core/check.h"
#include "core/host_regions.h"
#include "core/spin.h"

namespace penstock {
namespace {

using Clock = std::chrono::steady_clock;

// A sleeping thread wakes up to about this much late; the rest of the wait is spun.
constexpr auto kWakeUpDelay = std::chrono::microseconds(80);

void wait_until(Clock::time_point end) {
  if (end - Clock::now() > kWakeUpDelay) std::this_thread::sleep_until(end - kWakeUpDelay);
  while (Clock::now() < end) spin_pause();
}

void paced_copy(std::span<std::byte> to, std::span<const std::byte> from, double seconds) {
  const Clock::time_point begin = Clock::now();
  if (!to.empty()) std::memcpy(to.data(), from.data(), to.size());
  if (seconds > 0)
    wait_until(begin + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds)));
}

std::shared_ptr<EventRecords> records_of(const Event& event) {
  const auto* host_event = dynamic_cast<const HostEvent*>(&event);
  CHECK(host_event != nullptr);  // an event of another device
  return host_event->records();
}

const HostTimingEvent& timing_of(const TimingEvent& event) {
  const auto* host_event = dynamic_cast<const HostTimingEvent*>(&event);
  CHECK(host_event != nullptr);  // an event of another device
  return *host_event;
}

// Copies of the emulated device reach any host memory.
class NoRegistration final : public HostRegistration {};

std::string rate_text(double gbps) { return gbps > 0 ? fmt::format("{:g} GB/s", gbps) : "unpaced"; }

}  // namespace

double modelled_copy_seconds(const HostDeviceOptions& options, LaneKind lane, uint64_t bytes) {
  if (lane == LaneKind::kFetch) return modelled_copy_seconds(bytes, options.h2d_gbps, options.latency_us);
  if (lane == LaneKind::kOffload) return modelled_copy_seconds(bytes, options.d2h_gbps, options.latency_us);
  return 0;  // inside the device
}

HostDevice::HostDevice(const HostDeviceOptions& options) : options_(options), budget_(options.budget_bytes) {
  for (const double value : {options.h2d_gbps, options.d2h_gbps, options.latency_us}) {
    CHECK(std::isfinite(value));
    CHECK_GE(value, 0.0);
  }
  for (int lane = 0; lane < kDeviceLaneCount; ++lane) {
    lanes_.push_back(std::make_unique<HostLane>(static_cast<LaneKind>(lane), failure_));
  }
}

HostDevice::~HostDevice() { failure_.close(); }

std::string HostDevice::description() const {
  const std::string budget =
      options_.budget_bytes == UINT64_MAX ? "no memory limit" : format_bytes(options_.budget_bytes);
  const bool is_paced = options_.h2d_gbps > 0 || options_.d2h_gbps > 0 || options_.latency_us > 0;
  if (!is_paced) return fmt::format("emulated on the host, {}, link as fast as memory", budget);
  return fmt::format("emulated on the host, {}, fetch {}, offload {}, latency {:g} us", budget,
                     rate_text(options_.h2d_gbps), rate_text(options_.d2h_gbps), options_.latency_us);
}

std::span<std::byte> HostDevice::allocate(std::string_view name, uint64_t bytes) {
  CHECK(!sealed_);
  if (!budget_.take_arena(bytes)) throw arena_refusal(name, bytes, memory_use());
  try {
    arenas_.emplace_back(std::string(name), bytes);
  } catch (...) {
    budget_.give_back_arena(bytes);
    throw;
  }
  return arenas_.back().allocate(bytes);
}

std::unique_ptr<HostRegistration> HostDevice::register_host(std::span<const HostRegion> regions) {
  CHECK(!sealed_);
  check_host_regions(regions);
  return std::make_unique<NoRegistration>();
}

std::unique_ptr<Event> HostDevice::create_event() { return std::make_unique<HostEvent>(); }

std::unique_ptr<TimingEvent> HostDevice::create_timing_event() { return std::make_unique<HostTimingEvent>(); }

void HostDevice::copy(LaneKind lane, std::span<std::byte> to, std::span<const std::byte> from) {
  CHECK_EQ(to.size(), from.size());
  const double seconds = modelled_copy_seconds(options_, lane, to.size());
  open_lane(lane).run([to, from, seconds] { paced_copy(to, from, seconds); });
}

void HostDevice::fill(LaneKind lane, std::span<std::byte> to, std::byte value) {
  open_lane(lane).run([to, value] { std::ranges::fill(to, value); });
}

void HostDevice::launch(LaneKind lane, std::function<void()> work) { open_lane(lane).run(std::move(work)); }

void HostDevice::record(LaneKind lane, Event& event) { open_lane(lane).record(records_of(event)); }

void HostDevice::record(LaneKind lane, TimingEvent& event) { open_lane(lane).record(timing_of(event).records()); }

void HostDevice::wait(LaneKind lane, const Event& event) {
  HostLane& waiting = open_lane(lane);
  const std::shared_ptr<EventRecords> records = records_of(event);
  const uint64_t generation = records->newest();
  if (generation != 0) waiting.wait(records, generation);
}

void HostDevice::synchronize(const Event& event) {
  const std::shared_ptr<EventRecords> records = records_of(event);
  records->wait(records->newest());
  failure_.throw_if_set();
}

int64_t HostDevice::time_ns(const TimingEvent& event) {
  const std::shared_ptr<TimingRecords>& records = timing_of(event).records();
  const int64_t time_ns = records->wait_for_time();
  failure_.throw_if_set();
  return time_ns;
}

void HostDevice::synchronize_all() {
  HostDevice::drain();
  failure_.throw_if_set();
}

void HostDevice::drain() noexcept {
  for (const std::unique_ptr<HostLane>& lane : lanes_) lane->wait_idle();
}

HostLane& HostDevice::open_lane(LaneKind kind) {
  CHECK_LT(static_cast<int>(kind), kDeviceLaneCount);
  failure_.throw_if_set();
  return *lanes_[static_cast<size_t>(kind)];
}

}  // namespace penstock
