// Compiled where the build has no CUDA, in place of linked_runtime.cpp.
#include "core/cuda/linked_runtime.h"

namespace penstock {

CudaRuntime* linked_cuda_runtime() { return nullptr; }

}  // namespace penstock
