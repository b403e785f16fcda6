// Launches of the kernels for losses.
#pragma once

#include "model/cuda/cross_entropy_kernels.h"
#include "model/cuda/element_type.h"

namespace penstock {

// One block a row of `vocab` logits.
template <class T, class Launcher>
LaunchShape logit_rows_shape(const Launcher& launcher, int64_t rows, int64_t vocab) {
  const int threads = threads_for(chunk_count(vocab, kChunkElements<T>), launcher.threads_per_block());
  return {rows, threads, kReductionBytes<float>};
}

template <class Launcher>
void launch_cross_entropy(Launcher& launcher, DType dtype, const CrossEntropyRows& rows) {
  with_element_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    launcher.launch(CrossEntropyKernel<T>{rows}, logit_rows_shape<T>(launcher, rows.rows, rows.vocab));
  });
}

template <class Launcher>
void launch_add_loss_statistics(Launcher& launcher, DType dtype, const PartialCrossEntropyRows& rows) {
  with_element_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    launcher.launch(LossStatisticsKernel<T>{rows}, logit_rows_shape<T>(launcher, rows.rows, rows.vocab));
  });
}

template <class Launcher>
void launch_partial_cross_entropy_gradient(Launcher& launcher, DType dtype, const PartialCrossEntropyRows& rows,
                                           float scale) {
  with_element_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    launcher.launch(PartialGradientKernel<T>{rows, scale}, logit_rows_shape<T>(launcher, rows.rows, rows.vocab));
  });
}

template <class Launcher>
void launch_losses_of_statistics(Launcher& launcher, int64_t rows, const int32_t* targets,
                                 const LossStatistics& statistics, double* row_losses) {
  const int threads = threads_for(rows, launcher.threads_per_block());
  launcher.launch(StatisticsLossesKernel{rows, targets, statistics, row_losses},
                  LaunchShape{ceil_divide(rows, threads), threads, 0});
}

template <class Launcher>
void launch_sum_losses(Launcher& launcher, const double* row_losses, int64_t rows, bool accumulate, double* sum) {
  const int threads = threads_for(rows, launcher.threads_per_block());
  launcher.launch(LossSumKernel{row_losses, rows, accumulate, sum}, LaunchShape{1, threads, kReductionBytes<double>});
}

}  // namespace penstock
