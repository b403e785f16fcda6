// Launches of RMSNorm.
#pragma once

#include "core/dtype.h"
#include "model/cuda/cast_launches.h"
#include "model/cuda/rms_norm_kernels.h"

namespace penstock {

template <class T, class Launcher>
int norm_threads(const Launcher& launcher, int64_t width) {
  return threads_for(ceil_divide(width, kChunkElements<T>), launcher.threads_per_block());
}

template <class Launcher>
void launch_rms_norm(Launcher& launcher, DType dtype, const RmsNormForward& norm) {
  with_element_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    launcher.launch(RmsNormKernel<T>{norm},
                    LaunchShape{norm.rows, norm_threads<T>(launcher, norm.hidden), kNormSharedBytes});
  });
}

template <class Launcher>
void launch_rms_norm_backward(Launcher& launcher, DType dtype, const RmsNormBackward& norm) {
  const int64_t blocks = ceil_divide(norm.rows, kKernelNormBlockRows);
  const bool sums_shared = norm.weight_gradient != nullptr && norm.hidden <= kNormSharedColumns;
  const int64_t sum_bytes = sums_shared ? norm.hidden * static_cast<int64_t>(sizeof(float)) : 0;
  with_element_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    launcher.launch(RmsNormBackwardKernel<T>{norm},
                    LaunchShape{blocks, norm_threads<T>(launcher, norm.hidden), kNormSharedBytes + sum_bytes});
  });
  if (norm.weight_gradient == nullptr) return;
  launch_column_sums(launcher, DType::kFloat32,
                     {norm.partials, blocks, norm.hidden, 0, norm.hidden, norm.weight_gradient, norm.accumulate});
}

}  // namespace penstock
