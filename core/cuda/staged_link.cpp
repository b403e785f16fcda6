#include "core/cuda/staged_link.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "core/check.h"
#include "core/thread_start.h"

namespace penstock {
namespace {

// What one thread copies at a time: small enough to share a slot out evenly, large enough for full bandwidth.
constexpr uint64_t kCopyBlockBytes = kMiB;

void copy_with(WorkerTeam& team, std::span<std::byte> to, std::span<const std::byte> from) {
  const uint64_t blocks = (to.size() + kCopyBlockBytes - 1) / kCopyBlockBytes;
  team.run(static_cast<int64_t>(blocks), [&](int64_t block) {
    const uint64_t begin = static_cast<uint64_t>(block) * kCopyBlockBytes;
    std::memcpy(to.data() + begin, from.data() + begin, std::min<uint64_t>(kCopyBlockBytes, to.size() - begin));
  });
}

}  // namespace

StagedLink::StagedLink(std::shared_ptr<CudaContext> context, std::shared_ptr<CudaLanes> lanes,
                       const StagingOptions& options)
    : context_(std::move(context)),
      lanes_(std::move(lanes)),
      fetch_ring_(context_, options),
      offload_ring_(context_, options),
      fetch_team_(options.copy_threads),
      copy_out_team_(options.copy_threads),
      copy_out_thread_(start_thread("copy out", [this] { copy_out_loop(); })) {}

StagedLink::~StagedLink() {
  lanes_->copy_outs().close();
  copy_out_thread_.join();
  lanes_->drain_to_release();
}

void StagedLink::fetch(std::span<std::byte> to, std::span<const std::byte> from) {
  CudaRuntime& runtime = context_->runtime();
  RawStream* stream = lanes_->stream(LaneKind::kFetch);
  while (!to.empty()) {
    const std::span<std::byte> slot = fetch_ring_.slot(fetched_count_);
    RawEvent* passed = fetch_ring_.passed(fetched_count_);
    const uint64_t bytes = std::min<uint64_t>(to.size(), slot.size());
    context_->check(runtime.synchronize_event(passed), "waiting for a slot of the staging ring");
    copy_with(fetch_team_, slot.first(bytes), from.first(bytes));
    context_->check(runtime.copy_async(to.data(), slot.data(), bytes, CopyDirection::kHostToDevice, stream),
                    "copying to the GPU");
    context_->check(runtime.record_event(passed, stream), "recording a staged copy");
    ++fetched_count_;
    to = to.subspan(bytes);
    from = from.subspan(bytes);
  }
}

uint64_t StagedLink::offload(std::span<std::byte> to, std::span<const std::byte> from) {
  CudaRuntime& runtime = context_->runtime();
  RawStream* stream = lanes_->stream(LaneKind::kOffload);
  while (!from.empty()) {
    const std::span<std::byte> slot = offload_ring_.slot(offloaded_count_);
    const uint64_t bytes = std::min<uint64_t>(from.size(), slot.size());
    // The slot's last content is in the user's memory.
    if (offloaded_count_ >= offload_ring_.slot_count()) {
      wait_copied_out(offloaded_count_ + 1 - offload_ring_.slot_count());
    }
    context_->check(runtime.copy_async(slot.data(), from.data(), bytes, CopyDirection::kDeviceToHost, stream),
                    "copying from the GPU");
    context_->check(runtime.record_event(offload_ring_.passed(offloaded_count_), stream), "recording a staged copy");
    lanes_->copy_outs().push({.use = offloaded_count_, .to = to.first(bytes)});
    ++offloaded_count_;
    to = to.subspan(bytes);
    from = from.subspan(bytes);
  }
  return offloaded_count_;
}

void StagedLink::wait_copied_out(uint64_t count) {
  lanes_->copy_outs().wait_passed(count);
  context_->failure().throw_if_set();
}

void StagedLink::copy_out_loop() {
  while (const std::optional<CopyOut> item = lanes_->copy_outs().next()) {
    copy_out(*item);
    lanes_->copy_outs().pass();
  }
}

// After an error the item is passed over: whoever waits for it finds the error.
void StagedLink::copy_out(const CopyOut& item) {
  if (context_->failure().skips_work()) return;
  try {
    context_->enter();
    context_->check(context_->runtime().synchronize_event(offload_ring_.passed(item.use)), "waiting for a staged copy");
    copy_with(copy_out_team_, item.to, offload_ring_.slot(item.use).first(item.to.size()));
  } catch (...) {
    context_->failure().set(std::current_exception());
  }
}

}  // namespace penstock
