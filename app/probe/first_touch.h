// What it costs to get memory from the kernel: seconds a GiB for what a run does with its arena (core/first_touch.h),
// by one thread and by all, with 2 MiB pages asked for and refused.
#pragma once

#include <cstdint>

#include "app/probe/turns.h"

namespace penstock {

// Seconds a GiB. Where huge pages are switched off both pairs are alike.
struct FirstTouchTimes {
  int threads = 1;  // "all"
  double one_thread_huge = 0;
  double all_threads_huge = 0;
  double one_thread_small = 0;
  double all_threads_small = 0;
};

// Throws Error(kDoesNotFit) where the memory is refused.
FirstTouchTimes measure_first_touch(uint64_t bytes, int threads, const TurnLimits& limits);

}  // namespace penstock
