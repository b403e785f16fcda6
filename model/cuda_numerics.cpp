#include "model/cuda_numerics.h"

#include <ATen/Context.h>

#include <cstdlib>

namespace penstock {

void prepare_cuda_environment() {
  // Plans count on these sizes, so that they override what the environment says.
  setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/1);
  setenv("CUBLASLT_WORKSPACE_SIZE", "32768", 1);  // KiB
  setenv("NVIDIA_TF32_OVERRIDE", "0", 1);         // it would win over LibTorch's own setting
}

void set_cuda_numerics(const CudaNumerics& numerics) {
  at::Context& context = at::globalContext();
  context.setFloat32MatmulPrecision("highest");
  context.setAllowTF32CuBLAS(false);
  context.setAllowTF32CuDNN(false);
  // Split-K GEMMs would sum their parts in bf16 otherwise.
  context.setAllowBF16ReductionCuBLAS(/*allow_reduced_precision=*/false);
  context.setDeterministicAlgorithms(numerics.deterministic, /*warn_only=*/false);
  // Deterministic mode fills every new tensor with NaN by default: a pass over memory for what is overwritten anyway.
  context.setDeterministicFillUninitializedMemory(false);
}

}  // namespace penstock
