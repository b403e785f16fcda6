// The contract between the executor and a device: memory with a budget, three lanes that run asynchronously, events.
//
// Semantics are CUDA's, on both implementations:
// - A lane is a FIFO queue. copy(), launch(), record(), wait() enqueue and return before the work is done.
// - wait() on an event captures the newest record at the time of the *call*; an event not yet recorded is no wait at
//   all. The executor's tickets (streaming/executor.h) make sure that this cannot happen.
// - Memory is taken before step 0; seal() ends that.
// Errors inside queued work are kept; the first one is thrown by synchronize() and by every later call.
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

  virtual std::unique_ptr<Event> create_event() = 0;
  // Enqueues on a device lane (fetch, compute or offload). Any thread; one thread per lane at a time.
  virtual void copy(LaneKind lane, std::span<std::byte> to, std::span<const std::byte> from) = 0;
  // `work` issues compute: on the host device it runs later on the lane's thread, on CUDA at once under the lane's
  // stream. It may only touch memory that stays valid until the lane has passed it.
  virtual void launch(LaneKind lane, std::function<void()> work) = 0;
  virtual void record(LaneKind lane, Event& event) = 0;
  virtual void wait(LaneKind lane, const Event& event) = 0;
  // Blocks the calling host thread until the newest record of the event is done (returns at once if never recorded).
  virtual void synchronize(const Event& event) = 0;
  // Blocks until every lane is idle; throws the first error of queued work.
  virtual void synchronize_all() = 0;
};

}  // namespace penstock
