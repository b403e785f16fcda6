// The decoder's arithmetic on CUDA: our kernels (cuda/kernel_set.h), GEMMs and attention by ATen. Functions enqueue on
// the compute lane's stream and return; none waits for the device, copies between it and the host or asks it anything.
// Over the CPU device, with emulated kernels and emulated ATen ops (emulated_aten_ops.h), the very same code runs
// without a card.
#pragma once

#include <c10/core/Device.h>

#include <memory>

#include "model/cuda/kernel_set.h"
#include "model/cuda_numerics.h"
#include "model/maths.h"

namespace penstock {

class CudaMaths final : public Maths {
 public:
  // `stream`: the cudaStream_t that `kernels` enqueue on, of `device`. For the CPU device there is none.
  // LibTorch's temporaries take `temporary_bytes`, as planned.
  CudaMaths(c10::Device device, void* stream, std::unique_ptr<KernelSet> kernels, uint64_t temporary_bytes = 0);

  // Gives LibTorch's memory back, so that the next device finds it free.
  ~CudaMaths() override;

  void start() override;
  // LibTorch's errors become ours (torch_errors.h).
  void run(c10::function_ref<void()> work) override;

  void clear(void* to, uint64_t bytes) override;
  void copy(void* to, const void* from, uint64_t bytes) override;
  void cast(DType from_type, const void* from, DType to_type, void* to, int64_t count) override;
  void accumulate(DType from_type, const void* from, float* to, bool accumulate, int64_t count) override;
  void add_column_sums(DType dtype, const ColumnSums& sums) override;

  void linear(DType dtype, const MatrixView& x, const MatrixView& weight, const MatrixView& y) override;
  void linear_add(DType dtype, const MatrixView& residual, const MatrixView& x, const MatrixView& weight,
                  const MatrixView& y) override;
  void linear_bias(DType dtype, const MatrixView& x, const MatrixView& weight, void* bias,
                   const MatrixView& y) override;
  void add_rows(DType dtype, const MatrixView& residual, const MatrixView& y) override;
  void linear_input_gradient(DType dtype, const MatrixView& d_y, const MatrixView& weight,
                             const MatrixView& d_x) override;
  void linear_weight_gradient(DType dtype, const MatrixView& d_y, const MatrixView& x, bool accumulate,
                              const MatrixView& d_weight) override;

  void rms_norm(DType dtype, const RmsNormForward& norm) override;
  void rms_norm_backward(DType dtype, const RmsNormBackward& norm) override;
  void head_norm(DType dtype, const HeadNormForward& norm) override;
  void head_norm_backward(DType dtype, const HeadNormBackward& norm) override;
  void rope_angles(int64_t tokens, const int32_t* positions, const RopeFrequencies& frequencies,
                   const RopeAngles& angles) override;
  void rope(DType dtype, const RopeRows& rope) override;
  void swiglu(DType dtype, int64_t rows, int64_t width, const void* gate_up, void* activated) override;
  void swiglu_backward(DType dtype, int64_t rows, int64_t width, const void* gate_up, const void* d_activated,
                       void* activated, void* d_gate_up) override;

  // logsumexp belongs to one pair of forward and backward: its layout depends on the shape (flash_attention_cuda.h).
  void attention(const AttentionShape& shape, const BatchView& batch, void* qkv, void* attended,
                 float* logsumexp) override;
  void attention_backward(const AttentionShape& shape, const BatchView& batch, void* qkv, void* attended,
                          float* logsumexp, void* d_attended, void* d_qkv) override;
  void append_to_cache(const AttentionShape& shape, const BatchView& batch, const void* qkv,
                       const AttentionCache& cache) override;
  void cached_attention(const AttentionShape& shape, void* qkv, void* attended, const AttentionCache& cache) override;

  void cross_entropy(DType dtype, const CrossEntropyRows& rows) override;
  void add_loss_statistics(DType dtype, const PartialCrossEntropyRows& rows) override;
  void partial_cross_entropy_gradient(DType dtype, const PartialCrossEntropyRows& rows, float scale) override;
  void losses_of_statistics(int64_t rows, const int32_t* targets, const LossStatistics& statistics,
                            double* row_losses) override;
  void sum_losses(const double* row_losses, int64_t rows, bool accumulate, double* sum) override;

 private:
  c10::Device device_;
  void* stream_;
  std::unique_ptr<KernelSet> kernels_;
  uint64_t temporary_bytes_;
};

// On the card `device_index`, whose compute lane's stream (a cudaStream_t) outlives the result. Sets LibTorch's
// numerics. Throws Error(kDevice) in a build without CUDA.
std::unique_ptr<Maths> make_cuda_maths(void* compute_stream, int device_index, uint64_t temporary_bytes,
                                       const CudaNumerics& numerics);

// What LibTorch's allocator holds for any call of attention and GEMM, workspaces included: the plan's temporaries, and
// what reserve_cuda_temporaries() takes. A bound for deterministic mode is one for the other too.
uint64_t cuda_attention_temporary_bytes(const AttentionShape& shape, int64_t rows, int64_t length,
                                        bool deterministic = true);

}  // namespace penstock
