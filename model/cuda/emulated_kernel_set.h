// Our CUDA kernels on host threads (emulated_block.h): for tests and builds without a card, over host memory.
#pragma once

#include <memory>

#include "model/cuda/kernel_set.h"

namespace penstock {

// `threads_per_block`: full warps of 32. Functions return when they are done; one caller at a time.
std::unique_ptr<KernelSet> make_emulated_kernel_set(int threads_per_block);

}  // namespace penstock
