#include "model/host_maths.h"

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <cstring>
#include <optional>

#include "core/check.h"
#include "model/element_casts.h"
#include "model/swiglu.h"

namespace penstock {

void HostMaths::run(c10::function_ref<void()> work) {
  const c10::InferenceMode no_autograd;
  set_compute_threads(threads_);
  std::optional<TemporaryObservation> observation;
  if (temporaries_ != nullptr) observation.emplace(*temporaries_);
  work();
}

void HostMaths::clear(void* to, uint64_t bytes) { std::memset(to, 0, bytes); }
void HostMaths::copy(void* to, const void* from, uint64_t bytes) { std::memcpy(to, from, bytes); }

void HostMaths::cast(DType from_type, const void* from, DType to_type, void* to, int64_t count) {
  cast_elements(from_type, from, to_type, to, count);
}

void HostMaths::accumulate(DType from_type, const void* from, float* to, bool accumulate, int64_t count) {
  accumulate_elements(from_type, from, to, accumulate, count);
}

void HostMaths::add_column_sums(DType dtype, const ColumnSums& sums) { penstock::add_column_sums(dtype, sums); }

void HostMaths::linear(DType dtype, const MatrixView& x, const MatrixView& weight, const MatrixView& y) {
  penstock::linear(dtype, x, weight, y);
}

void HostMaths::linear_add(DType dtype, const MatrixView& residual, const MatrixView& x, const MatrixView& weight,
                           const MatrixView& y) {
  penstock::linear_add(dtype, residual, x, weight, y);
}

void HostMaths::linear_bias(DType dtype, const MatrixView& x, const MatrixView& weight, void* bias,
                            const MatrixView& y) {
  penstock::linear_bias(dtype, x, weight, bias, y);
}

void HostMaths::add_rows(DType dtype, const MatrixView& residual, const MatrixView& y) {
  penstock::add_rows(dtype, residual, y);
}

void HostMaths::linear_input_gradient(DType dtype, const MatrixView& d_y, const MatrixView& weight,
                                      const MatrixView& d_x) {
  penstock::linear_input_gradient(dtype, d_y, weight, d_x);
}

void HostMaths::linear_weight_gradient(DType dtype, const MatrixView& d_y, const MatrixView& x, bool accumulate,
                                       const MatrixView& d_weight) {
  penstock::linear_weight_gradient(dtype, d_y, x, accumulate, d_weight);
}

void HostMaths::rms_norm(DType dtype, const RmsNormForward& norm) { penstock::rms_norm(dtype, norm); }
void HostMaths::rms_norm_backward(DType dtype, const RmsNormBackward& norm) {
  penstock::rms_norm_backward(dtype, norm);
}
void HostMaths::head_norm(DType dtype, const HeadNormForward& norm) { penstock::head_norm(dtype, norm); }
void HostMaths::head_norm_backward(DType dtype, const HeadNormBackward& norm) {
  penstock::head_norm_backward(dtype, norm);
}

void HostMaths::rope_angles(int64_t tokens, const int32_t* positions, const RopeFrequencies& frequencies,
                            const RopeAngles& angles) {
  penstock::rope_angles(tokens, positions, frequencies, angles);
}

void HostMaths::rope(DType dtype, const RopeRows& rope) { penstock::rope(dtype, rope); }

void HostMaths::swiglu(DType dtype, int64_t rows, int64_t width, const void* gate_up, void* activated) {
  penstock::swiglu(dtype, rows, width, gate_up, activated);
}

void HostMaths::swiglu_backward(DType dtype, int64_t rows, int64_t width, const void* gate_up, const void* d_activated,
                                void* activated, void* d_gate_up) {
  penstock::swiglu_backward(dtype, rows, width, gate_up, d_activated, activated, d_gate_up);
}

void HostMaths::attention(const AttentionShape& shape, const BatchView& batch, void* qkv, void* attended,
                          float* logsumexp) {
  penstock::attention(shape, batch, qkv, attended, logsumexp);
}

void HostMaths::attention_backward(const AttentionShape& shape, const BatchView& batch, void* qkv, void* attended,
                                   float* logsumexp, void* d_attended, void* d_qkv) {
  penstock::attention_backward(shape, batch, qkv, attended, logsumexp, d_attended, d_qkv);
}

void HostMaths::append_to_cache(const AttentionShape& shape, const BatchView& batch, const void* qkv,
                                const AttentionCache& cache) {
  penstock::append_to_cache(shape, batch.length, qkv, cache);
}

void HostMaths::cached_attention(const AttentionShape& shape, void* qkv, void* attended, const AttentionCache& cache) {
  penstock::cached_attention(shape, qkv, attended, cache);
}

void HostMaths::cross_entropy(DType dtype, const CrossEntropyRows& rows) { penstock::cross_entropy(dtype, rows); }

void HostMaths::add_loss_statistics(DType dtype, const PartialCrossEntropyRows& rows) {
  penstock::add_loss_statistics(dtype, rows);
}

void HostMaths::partial_cross_entropy_gradient(DType dtype, const PartialCrossEntropyRows& rows, float scale) {
  penstock::partial_cross_entropy_gradient(dtype, rows, scale);
}

void HostMaths::losses_of_statistics(int64_t rows, const int32_t* targets, const LossStatistics& statistics,
                                     double* row_losses) {
  penstock::losses_of_statistics(rows, targets, statistics, row_losses);
}

void HostMaths::sum_losses(const double* row_losses, int64_t rows, bool accumulate, double* sum) {
  penstock::sum_losses(row_losses, rows, accumulate, sum);
}

void set_compute_threads(int threads) {
  CHECK_GT(threads, 0);
  if (at::get_num_threads() != threads) at::set_num_threads(threads);
}

bool cpu_has_fast_bf16() { return __builtin_cpu_supports("avx512bf16") > 0; }

}  // namespace penstock
