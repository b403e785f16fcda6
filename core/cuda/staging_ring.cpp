#include "core/cuda/staging_ring.h"

#include <fmt/format.h>

#include "core/bytes.h"
#include "core/check.h"
#include "core/error.h"

namespace penstock {

StagingRing::StagingRing(const std::shared_ptr<CudaContext>& context, const StagingOptions& options)
    : arena_("pinned staging ring", options.slot_bytes * static_cast<uint64_t>(options.slots)),
      slot_bytes_(options.slot_bytes) {
  CHECK_GE(options.slots, 1);
  memory_ = arena_.allocate(arena_.capacity_bytes()).first(slot_bytes_ * static_cast<uint64_t>(options.slots));
  arena_.seal();
  CudaRuntime& runtime = context->runtime();
  const CudaStatus status = runtime.register_host(memory_.data(), memory_.size());
  if (status != CudaStatus::kSuccess) {
    runtime.take_last_error();
    context->fail(Error(ExitCode::kDevice,
                        fmt::format("the system refuses to pin even {} of host memory for staged copies ({}): free "
                                    "memory, or set memory.pin: staged so that no larger pin is tried before",
                                    format_bytes(memory_.size()), runtime.error_text(status))));
  }
  pinned_.emplace_back(context, memory_.data());
  for (int slot = 0; slot < options.slots; ++slot) passed_.emplace_back(context, EventUse::kOrder);
}

}  // namespace penstock
