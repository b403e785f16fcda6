// The CUDA device over the fake runtime, with compute where a card has it: launch() enqueues its work on the lane's
// stream instead of calling it, so that whatever order the streams are allowed to run in, compute is part of it.
#pragma once

#include <memory>

#include "core/cuda/cuda_device.h"
#include "fake_cuda_runtime.h"

namespace penstock {

class FakeCudaDevice final : public Device {
 public:
  FakeCudaDevice(const FakeCudaOptions& fake, const CudaDeviceOptions& options);

  FakeCudaRuntime& runtime() { return *runtime_; }

  std::string description() const override { return device_->description(); }
  std::span<std::byte> allocate(std::string_view name, uint64_t bytes) override {
    return device_->allocate(name, bytes);
  }
  void seal() override { device_->seal(); }
  MemoryUse memory_use() const override { return device_->memory_use(); }
  std::unique_ptr<HostRegistration> register_host(std::span<const HostRegion> regions) override {
    return device_->register_host(regions);
  }
  std::unique_ptr<Event> create_event() override { return device_->create_event(); }
  std::unique_ptr<TimingEvent> create_timing_event() override { return device_->create_timing_event(); }
  void copy(LaneKind lane, std::span<std::byte> to, std::span<const std::byte> from) override {
    device_->copy(lane, to, from);
  }
  void fill(LaneKind lane, std::span<std::byte> to, std::byte value) override { device_->fill(lane, to, value); }
  void launch(LaneKind lane, std::function<void()> work) override;
  void record(LaneKind lane, Event& event) override { device_->record(lane, event); }
  void record(LaneKind lane, TimingEvent& event) override { device_->record(lane, event); }
  void wait(LaneKind lane, const Event& event) override { device_->wait(lane, event); }
  void synchronize(const Event& event) override { device_->synchronize(event); }
  int64_t time_ns(const TimingEvent& event) override { return device_->time_ns(event); }
  void synchronize_all() override { device_->synchronize_all(); }
  void drain() noexcept override { device_->drain(); }

 private:
  std::unique_ptr<FakeCudaRuntime> runtime_;
  std::unique_ptr<CudaDevice> device_;
};

}  // namespace penstock
