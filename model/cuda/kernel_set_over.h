// The kernel set over any launcher (block.h): which kernels each function is, in which order.
// Each function is a free function of its kernels' file, launch_<function>(launcher, arguments of the function).
#pragma once

#include <utility>

#include "model/cuda/cache_launches.h"
#include "model/cuda/cast_launches.h"
#include "model/cuda/cross_entropy_launches.h"
#include "model/cuda/head_norm_launches.h"
#include "model/cuda/kernel_set.h"
#include "model/cuda/rms_norm_launches.h"
#include "model/cuda/rope_launches.h"
#include "model/cuda/swiglu_launches.h"

namespace penstock {

template <class Launcher>
class KernelSetOver final : public KernelSet {
 public:
  // The arguments are the launcher's.
  template <class... Arguments>
  explicit KernelSetOver(Arguments&&... arguments) : launcher_(std::forward<Arguments>(arguments)...) {}

  void clear(void* to, uint64_t bytes) override { launcher_.clear(to, bytes); }
  void copy(void* to, const void* from, uint64_t bytes) override { launcher_.copy(to, from, bytes); }

  void cast(DType from_type, const void* from, DType to_type, void* to, int64_t count) override {
    launch_cast(launcher_, from_type, from, to_type, to, count);
  }
  void accumulate(DType from_type, const void* from, float* to, bool accumulate, int64_t count) override {
    launch_accumulate(launcher_, from_type, from, to, accumulate, count);
  }
  void add_column_sums(DType dtype, const ColumnSums& sums) override { launch_column_sums(launcher_, dtype, sums); }

  void rms_norm(DType dtype, const RmsNormForward& norm) override { launch_rms_norm(launcher_, dtype, norm); }
  void rms_norm_backward(DType dtype, const RmsNormBackward& norm) override {
    launch_rms_norm_backward(launcher_, dtype, norm);
  }
  void head_norm(DType dtype, const HeadNormForward& norm) override { launch_head_norm(launcher_, dtype, norm); }
  void head_norm_backward(DType dtype, const HeadNormBackward& norm) override {
    launch_head_norm_backward(launcher_, dtype, norm);
  }

  void rope_angles(const RopeAngleRows& rows) override { launch_rope_angles(launcher_, rows); }
  void rope(DType dtype, const RopeRows& rope) override { launch_rope(launcher_, dtype, rope); }
  void swiglu(DType dtype, const SwigluForwardRows& rows) override { launch_swiglu(launcher_, dtype, rows); }
  void swiglu_backward(DType dtype, const SwigluBackwardRows& rows) override {
    launch_swiglu_backward(launcher_, dtype, rows);
  }
  void append_to_cache(DType dtype, const CacheAppendRows& rows) override {
    launch_append_to_cache(launcher_, dtype, rows);
  }

  void cross_entropy(DType dtype, const CrossEntropyRows& rows) override {
    launch_cross_entropy(launcher_, dtype, rows);
  }
  void add_loss_statistics(DType dtype, const PartialCrossEntropyRows& rows) override {
    launch_add_loss_statistics(launcher_, dtype, rows);
  }
  void partial_cross_entropy_gradient(DType dtype, const PartialCrossEntropyRows& rows, float scale) override {
    launch_partial_cross_entropy_gradient(launcher_, dtype, rows, scale);
  }
  void losses_of_statistics(int64_t rows, const int32_t* targets, const LossStatistics& statistics,
                            double* row_losses) override {
    launch_losses_of_statistics(launcher_, rows, targets, statistics, row_losses);
  }
  void sum_losses(const double* row_losses, int64_t rows, bool accumulate, double* sum) override {
    launch_sum_losses(launcher_, row_losses, rows, accumulate, sum);
  }

 private:
  Launcher launcher_;
};

}  // namespace penstock
