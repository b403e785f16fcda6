// What a card's special-function unit does in one instruction, for kernels in which the accurate functions, ten
// instructions each, would take longer than memory does. The host's versions are accurate.
#pragma once

#include <cmath>

#include "model/cuda/block.h"

namespace penstock {

// e^x within about (3 + |x|) 2^-24 of it; 0 below 2^-126 and infinite from 2^128 on. NaN stays NaN.
PENSTOCK_KERNEL_CODE inline float quick_exponential(float x) {
#ifdef __CUDACC__
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x * 1.44269504f));
  return result;
#else
  return std::exp(x);
#endif
}

// 1 / x within one unit in the last place; 0 where that is below 2^-126.
PENSTOCK_KERNEL_CODE inline float quick_reciprocal(float x) {
#ifdef __CUDACC__
  float result;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
#else
  return 1.0f / x;
#endif
}

}  // namespace penstock
