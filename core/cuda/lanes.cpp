#include "core/cuda/lanes.h"

#include <utility>

namespace penstock {

CudaLanes::CudaLanes(std::shared_ptr<CudaContext> context) : context_(std::move(context)) {
  for (int lane = 0; lane < kDeviceLaneCount; ++lane) {
    streams_.emplace_back(context_);
    idle_.emplace_back(context_, EventUse::kOrder);
  }
}

void CudaLanes::drain(LaneKind lane) {
  const OwnedEvent& idle = idle_[static_cast<size_t>(lane)];
  context_->check(context_->runtime().record_event(idle.raw(), stream(lane)), "marking the end of a lane");
  context_->check(context_->runtime().synchronize_event(idle.raw()), "waiting for a lane");
}

void CudaLanes::drain_to_release() noexcept {
  const uint64_t copy_outs = copy_outs_.pushed_count();
  context_->enter_to_release();
  for (const OwnedStream& stream : streams_) context_->runtime().synchronize_stream(stream.raw());
  context_->runtime().take_last_error();
  copy_outs_.wait_passed(copy_outs);  // their events were queued before, so they wait for nothing else
}

}  // namespace penstock
