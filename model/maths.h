// The arithmetic of the decoder on one kind of device: every function that touches elements of device memory.
// Not a tensor library: operands are planned buffers, nothing here allocates what outlives the call (LibTorch's
// temporaries aside). HostMaths computes before it returns; CudaMaths only enqueues on the compute lane's stream.
// Results of one implementation do not depend on how the caller planned memory. Between two they agree up to rounding.
#pragma once

#include <c10/util/FunctionRef.h>

#include "core/dtype.h"
#include "model/attention.h"
#include "model/batch_view.h"
#include "model/column_sums.h"
#include "model/cross_entropy.h"
#include "model/gemm.h"
#include "model/head_norm.h"
#include "model/rms_norm.h"
#include "model/rope.h"

namespace penstock {

class Maths {
 public:
  virtual ~Maths() = default;

  // Takes what LibTorch needs for itself. Once, before the first run(), from the compute lane's issuing thread:
  // LibTorch has its workspaces per thread. Throws Error(kDoesNotFit) where the device has no room for it.
  virtual void start() {}

  // Calls `work`, which calls the functions below, the way LibTorch must be called on this device: on its compute
  // lane's stream, with its temporaries counted. From the compute lane's issuing thread.
  virtual void run(c10::function_ref<void()> work) = 0;

  virtual void clear(void* to, uint64_t bytes) = 0;
  virtual void copy(void* to, const void* from, uint64_t bytes) = 0;
  // to[i] = from[i], rounded to nearest even where `to_type` is narrower. Types: float32 and bfloat16.
  virtual void cast(DType from_type, const void* from, DType to_type, void* to, int64_t count) = 0;
  // to[i] = or += from[i].
  virtual void accumulate(DType from_type, const void* from, float* to, bool accumulate, int64_t count) = 0;
  virtual void add_column_sums(DType dtype, const ColumnSums& sums) = 0;

  // The products of a linear layer, as gemm.h states them.
  virtual void linear(DType dtype, const MatrixView& x, const MatrixView& weight, const MatrixView& y) = 0;
  virtual void linear_add(DType dtype, const MatrixView& residual, const MatrixView& x, const MatrixView& weight,
                          const MatrixView& y) = 0;
  virtual void linear_bias(DType dtype, const MatrixView& x, const MatrixView& weight, void* bias,
                           const MatrixView& y) = 0;
  virtual void add_rows(DType dtype, const MatrixView& residual, const MatrixView& y) = 0;
  virtual void linear_input_gradient(DType dtype, const MatrixView& d_y, const MatrixView& weight,
                                     const MatrixView& d_x) = 0;
  // d_weight is in weight_gradient_type(): fp32 wherever the device's GEMM can sum into it.
  virtual void linear_weight_gradient(DType dtype, const MatrixView& d_y, const MatrixView& x, bool accumulate,
                                      const MatrixView& d_weight) = 0;

  virtual void rms_norm(DType dtype, const RmsNormForward& norm) = 0;
  virtual void rms_norm_backward(DType dtype, const RmsNormBackward& norm) = 0;
  virtual void head_norm(DType dtype, const HeadNormForward& norm) = 0;
  virtual void head_norm_backward(DType dtype, const HeadNormBackward& norm) = 0;
  virtual void rope_angles(int64_t tokens, const int32_t* positions, const RopeFrequencies& frequencies,
                           const RopeAngles& angles) = 0;
  virtual void rope(DType dtype, const RopeRows& rope) = 0;
  virtual void swiglu(DType dtype, int64_t rows, int64_t width, const void* gate_up, void* activated) = 0;
  virtual void swiglu_backward(DType dtype, int64_t rows, int64_t width, const void* gate_up, const void* d_activated,
                               void* activated, void* d_gate_up) = 0;

  virtual void attention(const AttentionShape& shape, const BatchView& batch, void* qkv, void* attended,
                         float* logsumexp) = 0;
  virtual void attention_backward(const AttentionShape& shape, const BatchView& batch, void* qkv, void* attended,
                                  float* logsumexp, void* d_attended, void* d_qkv) = 0;
  virtual void append_to_cache(const AttentionShape& shape, const BatchView& batch, const void* qkv,
                               const AttentionCache& cache) = 0;
  virtual void cached_attention(const AttentionShape& shape, void* qkv, void* attended,
                                const AttentionCache& cache) = 0;

  virtual void cross_entropy(DType dtype, const CrossEntropyRows& rows) = 0;
  virtual void add_loss_statistics(DType dtype, const PartialCrossEntropyRows& rows) = 0;
  virtual void partial_cross_entropy_gradient(DType dtype, const PartialCrossEntropyRows& rows, float scale) = 0;
  virtual void losses_of_statistics(int64_t rows, const int32_t* targets, const LossStatistics& statistics,
                                    double* row_losses) = 0;
  // *sum = or += the row losses, in an order of its own that is always the same.
  virtual void sum_losses(const double* row_losses, int64_t rows, bool accumulate, double* sum) = 0;
};

// What a plan has to know of a device's arithmetic before there is a device.
enum class Backend : uint8_t { kHost, kCuda };
// Of linear_weight_gradient(): bf16 GEMMs round each micro-batch's gradient once on the host, never on CUDA.
DType weight_gradient_type(Backend backend, DType compute);
// Floats of scratch for the norms' weight gradients.
int64_t rms_norm_partials(Backend backend, int64_t rows, int64_t hidden);
int64_t head_norm_partials(Backend backend, int64_t rows, int64_t head_dim);
// Upper bound of what LibTorch allocates in any one call of attention.
uint64_t attention_temporary_bytes(Backend backend, const AttentionShape& shape, int64_t rows, int64_t length,
                                   int threads, bool deterministic);

}  // namespace penstock
