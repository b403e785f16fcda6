// How LibTorch computes on CUDA: fp32 accumulation and no TF32 anywhere, one rounding where we say so.
// Process-wide, as LibTorch's settings are. One compute stream: cuBLAS has a workspace for each stream it sees.
#pragma once

#include "core/bytes.h"

namespace penstock {

struct CudaNumerics {
  // The same input gives the same bits: attention's backward sums in a fixed order.
  bool deterministic = false;
};

// Variables that cuBLAS and LibTorch read once, at their first use. From main(), before any other thread exists.
void prepare_cuda_environment();
// What the first of them asks for: 8 buffers of 4096 KiB, the layout that repeats results. cuBLASLt's is never larger.
inline constexpr uint64_t kCublasWorkspaceBytes = 8 * 4096 * kKiB;

void set_cuda_numerics(const CudaNumerics& numerics);

}  // namespace penstock
