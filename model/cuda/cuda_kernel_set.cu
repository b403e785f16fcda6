#include "model/cuda/cuda_kernel_set.h"

#include "model/cuda/cuda_block.cuh"
#include "model/cuda/kernel_set_over.h"

namespace penstock {

std::unique_ptr<KernelSet> make_cuda_kernel_set(void* stream) {
  return std::make_unique<KernelSetOver<CudaLauncher>>(static_cast<cudaStream_t>(stream));
}

}  // namespace penstock
