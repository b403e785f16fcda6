// Launches of the norm of heads.
#pragma once

#include <type_traits>

#include "core/check.h"
#include "core/dtype.h"
#include "model/cuda/cast_launches.h"
#include "model/cuda/head_norm_backward_kernel.h"
#include "model/cuda/head_norm_kernels.h"

namespace penstock {

inline void check_head_norm(const HeadNormShape& shape) {
  CHECK_LE(shape.head_dim, kMostHeadDim);
  CHECK_LE(shape.rows * shape.heads(), int64_t{0x7fffffff});  // a kernel counts them in 32 bits
}

// Calls work(T{}, std::integral_constant<int, chunks of a lane>{}).
template <class Work>
void with_head_chunks(DType dtype, int64_t head_dim, const Work& work) {
  with_element_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    if (head_dim <= kWarpLanes * kChunkElements<T>)
      work(T{}, std::integral_constant<int, 1>{});
    else
      work(T{}, std::integral_constant<int, kMostHeadChunks<T>>{});
  });
}

template <class Launcher>
void launch_head_norm(Launcher& launcher, DType dtype, const HeadNormForward& norm) {
  check_head_norm(norm.shape);
  with_head_chunks(dtype, norm.shape.head_dim, [&](auto zero, auto chunks) {
    using T = decltype(zero);
    const int lanes = head_lanes(norm.shape.head_dim, kChunkElements<T>), threads = launcher.threads_per_block();
    launcher.launch(HeadNormKernel<T, decltype(chunks)::value>{norm, lanes},
                    LaunchShape{ceil_divide(norm.shape.rows * norm.shape.heads(), threads / lanes), threads, 0});
  });
}

template <class Launcher>
void launch_head_norm_backward(Launcher& launcher, DType dtype, const HeadNormBackward& norm) {
  check_head_norm(norm.shape);
  const int64_t blocks = ceil_divide(norm.shape.rows, kKernelNormBlockRows), head_dim = norm.shape.head_dim;
  with_head_chunks(dtype, head_dim, [&](auto zero, auto chunks) {
    using T = decltype(zero);
    const int lanes = head_lanes(head_dim, kChunkElements<T>);
    const int threads = threads_for(kKernelNormBlockRows * lanes, launcher.threads_per_block());
    launcher.launch(HeadNormBackwardKernel<T, decltype(chunks)::value>{norm, lanes},
                    LaunchShape{blocks, threads, head_norm_shared_bytes(head_dim)});
  });
  float* const gradients[] = {norm.query_gradient, norm.key_gradient};
  for (int64_t i = 0; i < 2; ++i) {
    if (gradients[i] == nullptr) continue;
    launch_column_sums(launcher, DType::kFloat32,
                       {norm.partials, blocks, 2 * head_dim, i * head_dim, head_dim, gradients[i], norm.accumulate});
  }
}

}  // namespace penstock
