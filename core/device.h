// The contract between the executor and a device: memory with a budget, three lanes that run asynchronously, events.
//
// Semantics are CUDA's, on both implementations:
// - The lane fixes the direction of a copy: fetch from the host, offload to it, compute within the device.
// - A lane is a FIFO queue. copy(), launch(), record(), wait() enqueue and return before the work is done.
// - wait() on an event captures the newest record at the time of the *call*; an event not yet recorded is no wait at
//   all. The executor's tickets (streaming/executor.h) make sure that this cannot happen.
// - Memory is taken before step 0; seal() ends that.
// - Host memory that copies touch is announced by register_host() first: CUDA pins it, the emulated device needs
// nothing. Errors inside queued work are kept; the first one is thrown by synchronize() and by every later call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace penstock {

enum class LaneKind : uint8_t { kFetch, kCompute, kOffload, kHost };
inline constexpr int kDeviceLaneCount = 3;  // fetch, compute, offload
inline constexpr int kLaneCount = 4;

constexpr std::string_view lane_name(LaneKind lane) {
  constexpr std::string_view kNames[kLaneCount] = {"fetch", "compute", "offload", "host"};
  return kNames[static_cast<int>(lane)];
}

// Orders work between lanes. Owned by the caller, made by Device::create_event().
class Event {
 public:
  virtual ~Event() = default;
};

// Marks a time on a lane. Another type than Event: events that order must not pay for a clock.
class TimingEvent {
 public:
  virtual ~TimingEvent() = default;
};

// Host memory that one device may copy from and to for as long as this lives. Ends before the memory does, and waits
// until queued copies touch it no more.
class HostRegistration {
 public:
  virtual ~HostRegistration() = default;
};

// What of the host's memory crosses the link. State stays: it may be pinned, but need not be.
enum class HostUse : uint8_t { kTransfers, kState };
struct HostRegion {
  std::span<std::byte> bytes;
  HostUse use;
};

struct MemoryUse {
  uint64_t budget_bytes;          // what the device may use in all
  uint64_t arena_bytes;           // taken by allocate()
  uint64_t temporary_bytes;       // LibTorch's temporaries now
  uint64_t temporary_peak_bytes;  // and their peak
};

class Device {
 public:
  virtual ~Device() = default;

  virtual std::string description() const = 0;

  // Zeroed device memory on a 4 KiB border. Throws Error(kDoesNotFit) over the budget. CHECKs that the device is not
  // sealed.
  virtual std::span<std::byte> allocate(std::string_view name, uint64_t bytes) = 0;
  virtual void seal() = 0;
  virtual MemoryUse memory_use() const = 0;

  // Regions ascend by address and do not overlap; neighbours may touch. Before seal(). Throws Error(kDevice).
  virtual std::unique_ptr<HostRegistration> register_host(std::span<const HostRegion> regions) = 0;

  virtual std::unique_ptr<Event> create_event() = 0;
  virtual std::unique_ptr<TimingEvent> create_timing_event() = 0;
  // Enqueues on a device lane (fetch, compute or offload). Any thread; one thread per lane at a time.
  virtual void copy(LaneKind lane, std::span<std::byte> to, std::span<const std::byte> from) = 0;
  // Every byte of `to`, device memory, becomes `value`.
  virtual void fill(LaneKind lane, std::span<std::byte> to, std::byte value) = 0;
  // `work` issues compute: on the host device it runs later on the lane's thread, on CUDA at once under the lane's
  // stream. It may only touch memory that stays valid until the lane has passed it.
  virtual void launch(LaneKind lane, std::function<void()> work) = 0;
  virtual void record(LaneKind lane, Event& event) = 0;
  virtual void record(LaneKind lane, TimingEvent& event) = 0;
  virtual void wait(LaneKind lane, const Event& event) = 0;
  // Blocks the calling host thread until the newest record of the event is done (returns at once if never recorded).
  virtual void synchronize(const Event& event) = 0;
  // When the lane passed the event's newest record, on the clock of TraceRecorder::now_ns(); waits until it has.
  virtual int64_t time_ns(const TimingEvent& event) = 0;
  // Blocks until every lane is idle; throws the first error of queued work.
  virtual void synchronize_all() = 0;
  // Blocks until nothing queued can touch the host's memory any more, whatever failed: queued work has run or is
  // skipped. Any thread. Throws nothing; the first error stays.
  virtual void drain() noexcept = 0;
};

}  // namespace penstock
