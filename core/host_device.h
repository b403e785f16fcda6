// The emulated device: a byte budget that really refuses, a link with settable rate and latency, one thread per lane.
// First class, and the default where there is no GPU. Compute runs on the compute lane's thread.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "core/device.h"

namespace penstock {

struct HostDeviceOptions {
  uint64_t budget_bytes = UINT64_MAX;
  double h2d_gbps = 0;    // 0: as fast as memcpy
  double d2h_gbps = 0;
  double latency_us = 0;  // added to every copy
};

class HostDevice final : public Device {
 public:
  explicit HostDevice(const HostDeviceOptions& options);
  ~HostDevice() override;

  std::string description() const override;
  std::span<std::byte> allocate(std::string_view name, uint64_t bytes) override;
  void seal() override;
  MemoryUse memory_use() const override;
  std::unique_ptr<Event> create_event() override;
  void copy(LaneKind lane, std::span<std::byte> to, std::span<const std::byte> from) override;
  void launch(LaneKind lane, std::function<void()> work) override;
  void record(LaneKind lane, Event& event) override;
  void wait(LaneKind lane, const Event& event) override;
  void synchronize(const Event& event) override;
  void synchronize_all() override;

  // Called by the counting CPU allocator for temporaries of the compute lane. Returns false over the budget (the
  // caller then throws). Thread-safe.
  bool charge_temporary(int64_t bytes);

 private:
  class Lane;
  struct State;
  std::unique_ptr<State> state_;
  std::vector<std::unique_ptr<Lane>> lanes_;
};

}  // namespace penstock
