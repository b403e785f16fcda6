// The MLP's gate: activated = silu(gate) * up over packed rows [rows, 2 * width], gate first. fp32 inside, one
// rounding.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace penstock {

void swiglu(DType dtype, int64_t rows, int64_t width, const void* gate_up, void* activated);

// d_gate_up from d_activated; also rebuilds `activated` for the weight gradient that follows, in place of d_activated
// where both are the same buffer.
void swiglu_backward(DType dtype, int64_t rows, int64_t width, const void* gate_up, const void* d_activated,
                     void* activated, void* d_gate_up);

}  // namespace penstock
