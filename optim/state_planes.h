// A layer's state as typed planes: where remainder and moments start inside LayerStateView's bytes.
// The only reader of that order; offsets within a plane come from LayerLayout.
#pragma once

#include <cstdint>

#include "core/bf16.h"
#include "optim/host_optimizer.h"

namespace penstock {

// Of one block of kScaleBlockElements elements in `compact8`.
struct MomentScales {
  float m = 0;
  float v = 0;
};

// Each pointer is a plane's first element; planes that the format does not have are null.
struct StatePlanes {
  bf16_bits* hi = nullptr;         // exact: the master's upper half; compact, compact8: the master
  uint16_t* lo = nullptr;          // exact
  float* master = nullptr;         // float32
  float* m = nullptr;              // exact, float32
  float* v = nullptr;              // exact, float32
  bf16_bits* m16 = nullptr;        // compact
  bf16_bits* v16 = nullptr;        // compact
  uint16_t* moments = nullptr;     // compact8: the 8-bit codes of m (below) and v (above), compact8_kernels.h
  MomentScales* scales = nullptr;  // compact8, one per block of kScaleBlockElements
};

// CHECKs sizes and alignment against the layout.
StatePlanes state_planes(const LayerStateView& layer);

// Zeroes remainder and moments of elements [first, first + count) of the planes. In `compact8` a scale block that
// is left without any code but zero gets scale 0; one that is cleared in part keeps its scale, under which the v of a
// cleared element is the smallest there is (compact8_kernels.h).
void clear_moments(const LayerStateView& layer, uint64_t first, uint64_t count);

// CHECKs size, data type and touched rows against the layout.
void check_gradient(const LayerGradientView& gradient);

}  // namespace penstock
