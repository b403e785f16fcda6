// Launches of the kernels for flat arrays and column sums.
#pragma once

#include "core/check.h"
#include "core/dtype.h"
#include "model/column_sums.h"
#include "model/cuda/block.h"
#include "model/cuda/cast_kernels.h"
#include "model/cuda/column_sums_kernel.h"
#include "model/cuda/element_type.h"

namespace penstock {

template <class Launcher>
LaunchShape cast_shape(const Launcher& launcher, int64_t count) {
  const int64_t items = ceil_divide(count, kCastChunk * kCastChunks);
  const int threads = threads_for(items, launcher.threads_per_block());
  return {ceil_divide(items, threads), threads, 0};
}

template <class From, class To, class Launcher>
void launch_cast_of(Launcher& launcher, const void* from, void* to, int64_t count) {
  launcher.launch(CastKernel<From, To>{static_cast<const From*>(from), static_cast<To*>(to), count},
                  cast_shape(launcher, count));
}

template <class Launcher>
void launch_cast(Launcher& launcher, DType from_type, const void* from, DType to_type, void* to, int64_t count) {
  CHECK(from_type != DType::kFloat16);
  CHECK(to_type != DType::kFloat16);
  if (count == 0) return;
  if (from_type == to_type)
    launcher.copy(to, from, static_cast<uint64_t>(count) * dtype_bytes(from_type));
  else if (to_type == DType::kFloat32)
    launch_cast_of<bf16_bits, float>(launcher, from, to, count);
  else
    launch_cast_of<float, bf16_bits>(launcher, from, to, count);
}

template <class Launcher>
void launch_accumulate(Launcher& launcher, DType from_type, const void* from, float* to, bool accumulate,
                       int64_t count) {
  if (!accumulate) return launch_cast(launcher, from_type, from, DType::kFloat32, to, count);
  with_element_type(from_type, [&](auto zero) {
    using From = decltype(zero);
    launcher.launch(AddKernel<From>{static_cast<const From*>(from), to, count}, cast_shape(launcher, count));
  });
}

template <class Launcher>
void launch_column_sums(Launcher& launcher, DType dtype, const ColumnSums& sums) {
  CHECK_LE(sums.first_column + sums.columns, sums.row_elements);
  with_element_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* first = static_cast<const T*>(sums.values) + sums.first_column;
    launcher.launch(
        ColumnSumsKernel<T>{first, sums.rows, sums.row_elements, sums.columns, sums.sums, sums.accumulate},
        LaunchShape{ceil_divide(sums.columns, kStripeColumns), launcher.threads_per_block(), kColumnSumsSharedBytes});
  });
}

}  // namespace penstock
