#include "core/cuda/clock.h"

#include <cmath>
#include <utility>

#include "core/trace.h"

namespace penstock {
namespace {

constexpr int kOriginTries = 5;

}  // namespace

CudaClock::CudaClock(std::shared_ptr<CudaContext> context, int64_t origin_life_ns)
    : context_(std::move(context)), origin_life_ns_(origin_life_ns), stream_(context_), origin_(take_origin()) {}

std::shared_ptr<const ClockOrigin> CudaClock::origin() const {
  std::lock_guard lock(mutex_);
  return origin_;
}

void CudaClock::renew() {
  std::lock_guard lock(mutex_);
  if (TraceRecorder::now_ns() - origin_->time_ns > origin_life_ns_) origin_ = take_origin();
}

// The event is passed somewhere between two looks at the host's clock; the closest looks of a few tries count.
std::shared_ptr<const ClockOrigin> CudaClock::take_origin() {
  CudaRuntime& runtime = context_->runtime();
  std::shared_ptr<const ClockOrigin> best;
  int64_t best_ns = INT64_MAX;
  for (int attempt = 0; attempt < kOriginTries; ++attempt) {
    OwnedEvent event(context_, EventUse::kClock);
    const int64_t before_ns = TraceRecorder::now_ns();
    context_->check(runtime.record_event(event.raw(), stream_.raw()), "recording the clock's origin");
    context_->check(runtime.synchronize_event(event.raw()), "waiting for the clock's origin");
    const int64_t taken_ns = TraceRecorder::now_ns() - before_ns;
    if (taken_ns >= best_ns) continue;
    best_ns = taken_ns;
    best = std::make_shared<const ClockOrigin>(ClockOrigin{std::move(event), before_ns + taken_ns / 2});
  }
  return best;
}

int64_t event_time_ns(const ClockOrigin& origin, const OwnedEvent& event) {
  float milliseconds = 0;
  CudaContext& context = event.context();
  context.check(context.runtime().elapsed_ms(&milliseconds, origin.event.raw(), event.raw()), "reading a timing event");
  return origin.time_ns + std::llround(static_cast<double>(milliseconds) * 1e6);
}

}  // namespace penstock
