// The emulated device: a byte budget that really refuses, a link with settable rate and latency, one thread per lane.
// First class, and the default where there is no GPU. Compute runs on the compute lane's thread.
// Invariant: arenas and temporaries together never exceed the budget.
#pragma once

#include <memory>
#include <vector>

#include "core/arena.h"
#include "core/device.h"
#include "core/host_lane.h"
#include "core/memory_budget.h"

namespace penstock {

struct HostDeviceOptions {
  uint64_t budget_bytes = UINT64_MAX;
  double h2d_gbps = 0;    // paces the fetch lane's copies; 0: as fast as memcpy
  double d2h_gbps = 0;    // paces the offload lane's copies
  double latency_us = 0;  // added to every copy of these two lanes
};

// How long the emulated link needs for one copy; 1 GB is 1e9 bytes. `gbps` 0: nothing but the latency.
constexpr double modelled_copy_seconds(uint64_t bytes, double gbps, double latency_us) {
  return latency_us * 1e-6 + (gbps > 0 ? static_cast<double>(bytes) / (gbps * 1e9) : 0.0);
}

// The same for a lane of a device: fetch has the h2d rate, offload the d2h rate, compute copies inside the device.
double modelled_copy_seconds(const HostDeviceOptions& options, LaneKind lane, uint64_t bytes);

class HostDevice : public Device {
 public:
  // CHECKs that rates and latency are finite and not negative: callers validated user input.
  explicit HostDevice(const HostDeviceOptions& options);
  // Skips queued work that has not begun, waits for what has.
  ~HostDevice() override;

  std::string description() const override;
  std::span<std::byte> allocate(std::string_view name, uint64_t bytes) override;
  void seal() override { sealed_ = true; }
  MemoryUse memory_use() const override { return budget_.use(); }
  std::unique_ptr<HostRegistration> register_host(std::span<const HostRegion> regions) override;
  std::unique_ptr<Event> create_event() override;
  std::unique_ptr<TimingEvent> create_timing_event() override;
  void copy(LaneKind lane, std::span<std::byte> to, std::span<const std::byte> from) override;
  void fill(LaneKind lane, std::span<std::byte> to, std::byte value) override;
  void launch(LaneKind lane, std::function<void()> work) override;
  void record(LaneKind lane, Event& event) override;
  void record(LaneKind lane, TimingEvent& event) override;
  void wait(LaneKind lane, const Event& event) override;
  void synchronize(const Event& event) override;
  int64_t time_ns(const TimingEvent& event) override;
  void synchronize_all() override;
  void drain() noexcept override;

  // Called by the counting CPU allocator for temporaries of the compute lane. Returns false over the budget (the
  // caller then throws). Thread-safe.
  bool charge_temporary(int64_t bytes) { return budget_.charge_temporary(bytes); }

 private:
  // CHECKs that it is a device lane; throws the first error of queued work.
  HostLane& open_lane(LaneKind kind);

  const HostDeviceOptions options_;
  MemoryBudget budget_;
  std::vector<Arena> arenas_;  // one per allocate()
  bool sealed_ = false;
  LaneFailure failure_;
  std::vector<std::unique_ptr<HostLane>> lanes_;  // last: their threads use all of the above
};

}  // namespace penstock
