// Casts and fp32 accumulation of flat arrays, split over LibTorch's threads.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace penstock {

// to[i] = from[i], rounded to nearest even where `to_type` is narrower. Types: float32 and bfloat16.
void cast_elements(DType from_type, const void* from, DType to_type, void* to, int64_t count);

// to[i] = from[i], or to[i] += from[i].
void accumulate_elements(DType from_type, const void* from, float* to, bool accumulate, int64_t count);

}  // namespace penstock
