// CUDA's statuses as errors a person can act on.
#pragma once

#include <string_view>

#include "core/cuda/runtime.h"
#include "core/error.h"

namespace penstock {

// One line: what was done, CUDA's text, what to do. Out of memory is Error(kDoesNotFit), all else Error(kDevice).
Error cuda_error(CudaRuntime& runtime, CudaStatus status, std::string_view doing);

}  // namespace penstock
