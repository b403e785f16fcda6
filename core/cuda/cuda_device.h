// A GPU: three non-blocking streams as lanes, memory by cudaMalloc, copies of pinned memory or through a pinned ring.
// Makes no decision about what runs when, and knows no LibTorch: launch() calls its work at once, on the calling
// thread, and the work puts LibTorch on stream(lane) itself. Lanes fix the direction of copies: fetch host to device,
// offload device to host, compute within the device. Host memory that is not pinned always goes through the ring, never
// to CUDA: such a copy would block silently. Host waits sleep. An error of CUDA is the device's end: it is kept and
// thrown by every later call.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/cuda/clock.h"
#include "core/cuda/cuda_event.h"
#include "core/cuda/device_choice.h"
#include "core/cuda/host_pinning.h"
#include "core/cuda/staged_link.h"
#include "core/device.h"
#include "core/memory_budget.h"

namespace penstock {

// LibTorch's allocator on the device: bytes now, and at most since the start.
struct TemporaryUse {
  uint64_t bytes = 0;
  uint64_t peak_bytes = 0;
};

struct CudaDeviceOptions {
  int index = 0;
  uint64_t budget_bytes = UINT64_MAX;
  // Left of the free memory besides the budget. CUDA loads kernels when they are first called (LibTorch's, cuBLAS's and
  // ours together some 300 MiB) and rounds allocations up; a desktop takes more while we run.
  uint64_t reserve_bytes = 512 * kMiB;
  // Longest single copy: 1.3 ms at 25 GB/s, so that nothing urgent waits longer for the copy engine; 4 us of fixed cost
  // a copy are then 0.3%.
  uint64_t copy_piece_bytes = 32 * kMiB;
  PinMode pin = PinMode::kAll;
  uint64_t pin_piece_bytes = kPinPieceBytes;
  StagingOptions staging;
  int64_t clock_origin_life_ns = kClockOriginLifeNs;
  std::function<void(const std::string&)> notice;  // told once, in one line, when pinning is refused
};

class CudaDevice final : public Device {
 public:
  // `runtime` outlives the device and all it made. Throws Error(kDevice) where there is no usable GPU.
  CudaDevice(CudaRuntime& runtime, const CudaDeviceOptions& options);
  // Waits for what is queued, except copy-outs that have not begun.
  ~CudaDevice() override;

  std::string description() const override;
  std::span<std::byte> allocate(std::string_view name, uint64_t bytes) override;
  void seal() override { sealed_ = true; }
  MemoryUse memory_use() const override;
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
  void drain() noexcept override { lanes_->drain_to_release(); }

  int index() const { return context_->index(); }
  void* stream(LaneKind lane) const { return lanes_->stream(lane); }  // a cudaStream_t
  const CudaDeviceInfo& info() const { return info_; }
  const PinReport& pin_report() const { return pin_report_; }
  // Called by memory_use(), from any thread. Set before the lanes are used.
  void report_temporaries(std::function<TemporaryUse()> use) { temporary_use_ = std::move(use); }

 private:
  // CHECKs that it is a device lane, throws a kept error, and makes the device current on this thread.
  RawStream* open_lane(LaneKind lane);
  void open();
  bool is_on_device(std::span<const std::byte> bytes) const;
  template <typename Copy>
  void copy_in_parts(std::span<const std::byte> host, const Copy& copy_part);
  StagedLink& staged_link();

  const CudaDeviceOptions options_;
  std::shared_ptr<CudaContext> context_;
  CudaDeviceInfo info_;
  MemoryBudget budget_;
  std::function<TemporaryUse()> temporary_use_;
  std::vector<std::span<std::byte>> memory_;     // what allocate() returned
  std::vector<OwnedDeviceMemory> owned_memory_;  // one per allocate(); ends after the lanes
  bool sealed_ = false;
  PinReport pin_report_;
  std::shared_ptr<PinnedPieces> pinned_ = std::make_shared<PinnedPieces>();
  std::shared_ptr<CudaLanes> lanes_;
  std::array<std::atomic<uint64_t>, kDeviceLaneCount> copy_outs_{};  // that each lane's work so far comes after
  std::mutex lazy_mutex_;
  std::unique_ptr<CudaClock> clock_;    // made with the first timing event
  std::unique_ptr<StagedLink> staged_;  // made when something is staged
};

}  // namespace penstock
