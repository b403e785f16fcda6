// The three streams of a device, and the staged copies that go on behind the offload stream. Work on the streams is
// ordered by events only: none of them waits for the default stream.
#pragma once

#include <memory>
#include <vector>

#include "core/cuda/copy_out_queue.h"
#include "core/cuda/owned_handles.h"
#include "core/device.h"

namespace penstock {

class CudaLanes {
 public:
  // From a thread that entered the context.
  explicit CudaLanes(std::shared_ptr<CudaContext> context);

  RawStream* stream(LaneKind lane) const { return streams_[static_cast<size_t>(lane)].raw(); }

  CopyOutQueue& copy_outs() { return copy_outs_; }

  // Blocks until all that was queued on the lane's stream is done; the thread sleeps.
  void drain(LaneKind lane);
  // All lanes and what was queued behind them, whatever fails, from any thread: after this neither the device nor a
  // copy-out touches memory of ours, or the device is lost.
  void drain_to_release() noexcept;

 private:
  std::shared_ptr<CudaContext> context_;
  std::vector<OwnedStream> streams_;
  std::vector<OwnedEvent> idle_;  // one per stream
  CopyOutQueue copy_outs_;
};

}  // namespace penstock
