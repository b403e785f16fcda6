// A few slots of pinned host memory that copies of unpinned memory pass through.
// The slots are used in turn; who uses a slot again waits for its event (or knows that it has passed).
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/arena.h"
#include "core/bytes.h"
#include "core/cuda/owned_handles.h"

namespace penstock {

struct StagingOptions {
  // Two rings (fetch, offload) of this size are pinned: 128 MiB in all. Four slots: one is filled while one crosses the
  // link, and two hide the jitter of the copying threads. 16 MiB take 0.6 ms at 25 GB/s, 200 times a copy's fixed cost.
  uint64_t slot_bytes = 16 * kMiB;
  int slots = 4;
  // Per direction, the issuing or waiting thread included. One core copies faster than a PCIe 4 link; two, than PCIe 5.
  int copy_threads = 2;
};

class StagingRing {
 public:
  // From a thread that entered the context. Throws Error(kDevice) or Error(kDoesNotFit) if even this is not pinned.
  StagingRing(const std::shared_ptr<CudaContext>& context, const StagingOptions& options);

  size_t slot_count() const { return passed_.size(); }
  // Slot of the `use`-th use, counted from 0.
  std::span<std::byte> slot(uint64_t use) const {
    return memory_.subspan(use % slot_count() * slot_bytes_, slot_bytes_);
  }
  RawEvent* passed(uint64_t use) const { return passed_[use % slot_count()].raw(); }

 private:
  Arena arena_;
  uint64_t slot_bytes_;
  std::span<std::byte> memory_;
  std::vector<PinnedMemory> pinned_;  // one; ends before the arena
  std::vector<OwnedEvent> passed_;    // one per slot
};

}  // namespace penstock
