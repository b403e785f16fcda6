// Our kernels on a card. No CUDA types here, so that files that include LibTorch need none.
#pragma once

#include <memory>

#include "model/cuda/kernel_set.h"

namespace penstock {

// `stream` is a cudaStream_t of the device that is current whenever a function is called; it outlives the set.
// Functions enqueue and return; they throw Error(kDevice) when the runtime refuses.
std::unique_ptr<KernelSet> make_cuda_kernel_set(void* stream);

}  // namespace penstock
