// Prices ops in seconds. Rates come from the configuration (emulated link), from measurements, or from a probe.
#pragma once

#include "streaming/plan/schedule.h"

namespace penstock {

struct CostModel {
  double h2d_bytes_per_second = 0;   // 0: copies cost nothing but latency
  double d2h_bytes_per_second = 0;
  double copy_latency_seconds = 0;
  double host_bytes_per_second = 0;  // optimizer and norms; 0: free
  double forward_seconds = 0;        // one block, one micro-batch
  double backward_seconds = 0;
  double recompute_seconds = 0;      // added to Backward where the block is recomputed
  double loss_seconds = 0;           // head forward and backward, one micro-batch
  double pack_seconds = 0;

  double seconds(const Op& op, const BufferTable& buffers) const;
};

}  // namespace penstock
