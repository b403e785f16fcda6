// A training run's progress as a person follows it: a live line on a terminal, a plain line every so many steps
// elsewhere. Not a log of record: that is metrics.jsonl (app/metrics_log.h). It has no clock, the caller brings times.
#pragma once

#include <cstdint>
#include <string>

#include "app/console.h"

namespace penstock {

struct ProgressUpdate {
  int64_t step = 0;         // finished steps, counted from the start of the run
  int64_t total_steps = 0;  // 0: unknown
  double loss = 0;
  double learning_rate = 0;
  double tokens_per_second = 0;
  double elapsed_seconds = 0;  // of this process
  bool skipped = false;
};

class Progress {
 public:
  // `first_step`: steps that were finished before this process; what remains is estimated from the ones since.
  Progress(Console& console, int64_t logging_steps, int64_t first_step);

  void update(const ProgressUpdate& update);
  // The live line stays as it is and the cursor moves below it.
  void finish();

 private:
  Console& console_;
  int64_t logging_steps_;
  int64_t first_step_;
};

// "step 120/400  loss 2.3456  lr 2.9e-04  12.3k tok/s  eta 1m02s".
std::string format_progress(const ProgressUpdate& update, int64_t first_step);

}  // namespace penstock
