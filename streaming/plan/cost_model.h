// Prices ops in seconds. Rates come from the configuration (emulated link), from measurements, or from a probe.
#pragma once

#include "streaming/plan/schedule.h"

namespace penstock {

struct CostModel {
  double h2d_bytes_per_second = 0;  // 0: copies cost nothing but latency
  double d2h_bytes_per_second = 0;
  double copy_latency_seconds = 0;
  double host_bytes_per_second = 0;  // optimizer and norms; 0: free
  double forward_seconds = 0;        // one block, one micro-batch; also Prefill and Decode
  double backward_seconds = 0;       // half of it for each gradient that the op makes: input, weights
  double recompute_seconds = 0;      // added to Backward where the block is recomputed
  double loss_seconds = 0;           // head forward and backward, one micro-batch; a third of it for each gradient
  double pack_seconds = 0;
  int head_parts = 1;  // a part costs so much less than the head

  // Copies: latency plus the bytes that cross. Update, Norm, ScatterEmbed and Sample: all bytes they declare, read and
  // written. Embed: its staging twice, since it gathers rows. Decide and Report: nothing.
  double seconds(const Op& op, const BufferTable& buffers) const;
};

}  // namespace penstock
