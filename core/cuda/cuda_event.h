// The CUDA device's events. An event may end while its record is queued, and after its device.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

#include "core/cuda/clock.h"
#include "core/device.h"

namespace penstock {

class CudaEvent final : public Event {
 public:
  explicit CudaEvent(std::shared_ptr<CudaContext> context) : event_(std::move(context), EventUse::kOrder) {}

  RawEvent* raw() const { return event_.raw(); }

  // How many staged offloads must have reached the user's memory before the newest record counts as done. The stream
  // knows nothing of them: it ends at the ring (staged_link.h).
  uint64_t copy_outs() const { return copy_outs_; }
  void set_copy_outs(uint64_t count) { copy_outs_ = count; }

 private:
  OwnedEvent event_;
  std::atomic<uint64_t> copy_outs_ = 0;
};

class CudaTimingEvent final : public TimingEvent {
 public:
  explicit CudaTimingEvent(std::shared_ptr<CudaContext> context) : event_(std::move(context), EventUse::kTime) {}

  const OwnedEvent& owned() const { return event_; }

  // The origin the newest record counts from; null if never recorded.
  std::shared_ptr<const ClockOrigin> origin() const {
    std::lock_guard lock(mutex_);
    return origin_;
  }
  void set_origin(std::shared_ptr<const ClockOrigin> origin) {
    std::lock_guard lock(mutex_);
    origin_ = std::move(origin);
  }

 private:
  OwnedEvent event_;
  mutable std::mutex mutex_;
  std::shared_ptr<const ClockOrigin> origin_;
};

}  // namespace penstock
