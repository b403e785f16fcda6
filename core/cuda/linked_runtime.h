// The CUDA runtime this program is linked to.
#pragma once

#include "core/cuda/runtime.h"

namespace penstock {

// Lives as long as the process. Null in a build without CUDA. Makes no CUDA call.
CudaRuntime* linked_cuda_runtime();

}  // namespace penstock
