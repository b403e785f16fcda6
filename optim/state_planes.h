// A layer's state as typed planes: where lo16, m and v start inside LayerStateView's bytes.
// The only reader of that order; offsets within a plane come from LayerLayout.
#pragma once

#include <cstdint>

#include "core/bf16.h"
#include "optim/host_optimizer.h"

namespace penstock {

// Each pointer is a plane's first element. Of the master's planes, those of the other format are null.
struct StatePlanes {
  bf16_bits* hi = nullptr;
  uint16_t* lo = nullptr;
  float* master = nullptr;
  float* m = nullptr;
  float* v = nullptr;
};

// CHECKs sizes and alignment against the layout.
StatePlanes state_planes(const LayerStateView& layer);

// CHECKs size, data type and touched rows against the layout.
void check_gradient(const LayerGradientView& gradient);

}  // namespace penstock
