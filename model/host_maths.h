// The decoder's arithmetic on the host: LibTorch's CPU kernels and our row kernels on its threads.
// Not asynchronous: every function is done when it returns. It runs on the emulated device's compute lane.
#pragma once

#include <memory>
#include <utility>

#include "model/maths.h"
#include "model/temporary_memory.h"

namespace penstock {

class HostMaths final : public Maths {
 public:
  // Computes on so many of LibTorch's threads. Its temporaries are charged to `temporaries`; null: they are not
  // counted.
  explicit HostMaths(int threads, std::unique_ptr<TemporaryObserver> temporaries = nullptr)
      : threads_(threads), temporaries_(std::move(temporaries)) {}

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
  int threads_;
  std::unique_ptr<TemporaryObserver> temporaries_;
};

// LibTorch's intra-op threads, which it counts per calling thread.
void set_compute_threads(int threads);
// True where bf16 GEMM is fast on this CPU (AVX512_BF16 or AMX).
bool cpu_has_fast_bf16();

}  // namespace penstock
