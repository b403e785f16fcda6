// The few functions of mathematics that kernels call: CUDA's accurate ones on the card, the standard library's on the
// host. No fast-math versions.
#pragma once

#include <cmath>

#include "model/cuda/block.h"

namespace penstock::kernel_math {

PENSTOCK_KERNEL_CODE inline float square_root(float x) { return ::sqrtf(x); }
PENSTOCK_KERNEL_CODE inline float exponential(float x) { return ::expf(x); }
PENSTOCK_KERNEL_CODE inline double logarithm(double x) { return ::log(x); }
PENSTOCK_KERNEL_CODE inline float cosine(float x) { return ::cosf(x); }
PENSTOCK_KERNEL_CODE inline float sine(float x) { return ::sinf(x); }

// NaN if either is: fmaxf would lose it.
PENSTOCK_KERNEL_CODE inline float larger(float a, float b) { return a != a || a > b ? a : b; }

}  // namespace penstock::kernel_math
