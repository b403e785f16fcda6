// Our own kernels as one set of functions, so that the code that uses them runs over either implementation: CUDA
// (cuda_kernel_set.h) or the same kernels on host threads (emulated_kernel_set.h).
// No LibTorch, no allocation. Functions enqueue on the set's stream and return; the emulation returns when done.
// Rows may have any width; where width and addresses allow, elements move 16 bytes at a time. Sums are taken in a fixed
// order: the same input gives the same bits.
#pragma once

#include "core/dtype.h"
#include "model/column_sums.h"
#include "model/cross_entropy.h"
#include "model/head_norm.h"
#include "model/rms_norm.h"
#include "model/rope.h"

namespace penstock {

// Rows whose part of a norm's weight gradient is summed before blocks are: the order of the sum.
inline constexpr int64_t kKernelNormBlockRows = 16;
constexpr int64_t kernel_norm_partials(int64_t rows, int64_t width) {
  return (rows + kKernelNormBlockRows - 1) / kKernelNormBlockRows * width;
}

// Frequencies travel as a kernel argument.
inline constexpr int64_t kMostHalfHeadDim = 256;
struct RopeAngleRows {
  int64_t tokens, half;  // half <= kMostHalfHeadDim
  const int32_t* positions;
  RopeAngles angles;  // [tokens, half] each
  float scale;
  float inverse[kMostHalfHeadDim];
};

// The gate of the MLP over packed rows [rows, 2 * width], gate first (swiglu.h). Backward may have
// d_activated == activated.
struct SwigluForwardRows {
  int64_t rows, width;
  const void* gate_up;
  void* activated;
};
struct SwigluBackwardRows {
  int64_t rows, width;
  const void* gate_up;
  const void* d_activated;
  void* activated;
  void* d_gate_up;
};

// Keys and values of qkv [tokens, row_elements] into a cache [rows, capacity, kv_width] each: token t of a row of
// `length` tokens goes to its row's place positions[t].
struct CacheAppendRows {
  int64_t tokens, length, capacity;
  int64_t row_elements, first_key, kv_width;  // values follow keys in a row of qkv
  const int32_t* positions;
  const void* qkv;
  void* keys;
  void* values;
};

class KernelSet {
 public:
  virtual ~KernelSet() = default;

  virtual void clear(void* to, uint64_t bytes) = 0;
  virtual void copy(void* to, const void* from, uint64_t bytes) = 0;

  virtual void cast(DType from_type, const void* from, DType to_type, void* to, int64_t count) = 0;
  virtual void accumulate(DType from_type, const void* from, float* to, bool accumulate, int64_t count) = 0;
  virtual void add_column_sums(DType dtype, const ColumnSums& sums) = 0;

  virtual void rms_norm(DType dtype, const RmsNormForward& norm) = 0;
  // partials: kernel_norm_partials(rows, hidden) floats.
  virtual void rms_norm_backward(DType dtype, const RmsNormBackward& norm) = 0;
  virtual void head_norm(DType dtype, const HeadNormForward& norm) = 0;
  // partials: kernel_norm_partials(rows, 2 * head_dim) floats.
  virtual void head_norm_backward(DType dtype, const HeadNormBackward& norm) = 0;

  virtual void rope_angles(const RopeAngleRows& rows) = 0;
  virtual void rope(DType dtype, const RopeRows& rope) = 0;
  virtual void swiglu(DType dtype, const SwigluForwardRows& rows) = 0;
  virtual void swiglu_backward(DType dtype, const SwigluBackwardRows& rows) = 0;
  virtual void append_to_cache(DType dtype, const CacheAppendRows& rows) = 0;

  // A target outside the vocabulary gives a NaN loss: a kernel cannot abort, and the step is then refused.
  virtual void cross_entropy(DType dtype, const CrossEntropyRows& rows) = 0;
  virtual void add_loss_statistics(DType dtype, const PartialCrossEntropyRows& rows) = 0;
  virtual void partial_cross_entropy_gradient(DType dtype, const PartialCrossEntropyRows& rows, float scale) = 0;
  virtual void losses_of_statistics(int64_t rows, const int32_t* targets, const LossStatistics& statistics,
                                    double* row_losses) = 0;
  virtual void sum_losses(const double* row_losses, int64_t rows, bool accumulate, double* sum) = 0;
};

}  // namespace penstock
