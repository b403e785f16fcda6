// The three streams of a device. Work on them is ordered by events only: none of them waits for the default stream.
#pragma once

#include <memory>
#include <vector>

#include "core/cuda/owned_handles.h"
#include "core/device.h"

namespace penstock {

class CudaLanes {
 public:
  // From a thread that entered the context.
  explicit CudaLanes(std::shared_ptr<CudaContext> context);

  RawStream* stream(LaneKind lane) const { return streams_[static_cast<size_t>(lane)].raw(); }

  // Blocks until all that was queued on the lane is done; the thread sleeps.
  void drain(LaneKind lane);
  // All lanes, whatever fails: after this the device touches no memory of ours, or is lost.
  void drain_to_release() noexcept;

 private:
  std::shared_ptr<CudaContext> context_;
  std::vector<OwnedStream> streams_;
  std::vector<OwnedEvent> idle_;  // one per stream
};

}  // namespace penstock
