// What one step is given and what it decides: the values that are not buffers of the schedule.
#pragma once

#include <cstdint>
#include <span>

#include "data/step_batch.h"
#include "model/batch_view.h"
#include "optim/host_optimizer.h"

namespace penstock {

// Valid until the step's last host op is done.
struct StepInputs {
  std::span<const MicroBatch> micro_batches;
  int64_t trained_tokens = 0;  // N of the whole step; the loss is normalised by it
  AdamWStep update;            // of the pending update (deferred) or of this step's (eager), without the clip factor
  uint64_t update_id = 0;      // of `update`, never used twice; a layer takes each id once
  double max_grad_norm = 0;    // 0: no clipping
};

enum class Verdict : uint8_t { kApply, kSkip };

// Lies in the schedule's decision buffer, so that it survives until the update in the next step has read it.
struct Decision {
  double loss = 0;  // mean over the trained tokens
  double gradient_norm = 0;
  float clip_factor = 1;
  Verdict verdict = Verdict::kSkip;
};

inline BatchView batch_view(const MicroBatch& batch) {
  static_assert(kIgnoredTarget == kUntrainedTarget);
  return {batch.rows, batch.length, batch.positions, batch.targets, batch.segment_starts};
}

}  // namespace penstock
