#include "model/cuda_maths.h"

#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/error.h"
#include "model/emulated_aten_ops.h"
#ifdef PENSTOCK_CUDA
#include "model/cuda/cuda_kernel_set.h"
#endif
#include "model/cuda_memory.h"
#include "model/flash_attention_cuda.h"
#include "model/math_attention.h"
#include "model/torch_errors.h"

namespace penstock {

CudaMaths::CudaMaths(c10::Device device, void* stream, std::unique_ptr<KernelSet> kernels, uint64_t temporary_bytes)
    : device_(device), stream_(stream), kernels_(std::move(kernels)), temporary_bytes_(temporary_bytes) {
  CHECK(kernels_ != nullptr);
  if (device_.is_cpu())
    install_emulated_aten_ops();
  else
    CHECK(device_.is_cuda() && device_.has_index());
}

CudaMaths::~CudaMaths() {
  if (!device_.is_cuda()) return;
  try {
    release_cuda_temporaries(device_.index());
  } catch (const std::exception&) {
    // A lost device holds nothing any more.
  }
}

void CudaMaths::start() {
  if (device_.is_cuda()) reserve_cuda_temporaries(stream_, device_.index(), temporary_bytes_);
}

void CudaMaths::run(c10::function_ref<void()> work) {
  const c10::InferenceMode no_autograd;
  with_torch_errors([&] {
    if (device_.is_cpu())
      work();
    else
      on_cuda_stream(stream_, device_.index(), work);
  });
}

void CudaMaths::clear(void* to, uint64_t bytes) { kernels_->clear(to, bytes); }
void CudaMaths::copy(void* to, const void* from, uint64_t bytes) { kernels_->copy(to, from, bytes); }

void CudaMaths::cast(DType from_type, const void* from, DType to_type, void* to, int64_t count) {
  kernels_->cast(from_type, from, to_type, to, count);
}

void CudaMaths::accumulate(DType from_type, const void* from, float* to, bool accumulate, int64_t count) {
  kernels_->accumulate(from_type, from, to, accumulate, count);
}

void CudaMaths::add_column_sums(DType dtype, const ColumnSums& sums) { kernels_->add_column_sums(dtype, sums); }

void CudaMaths::linear(DType dtype, const MatrixView& x, const MatrixView& weight, const MatrixView& y) {
  penstock::linear(dtype, x, weight, y, device_);
}

void CudaMaths::linear_add(DType dtype, const MatrixView& residual, const MatrixView& x, const MatrixView& weight,
                           const MatrixView& y) {
  penstock::linear_add(dtype, residual, x, weight, y, device_);
}

void CudaMaths::linear_bias(DType dtype, const MatrixView& x, const MatrixView& weight, void* bias,
                            const MatrixView& y) {
  penstock::linear_bias(dtype, x, weight, bias, y, device_);
}

void CudaMaths::add_rows(DType dtype, const MatrixView& residual, const MatrixView& y) {
  penstock::add_rows(dtype, residual, y, device_);
}

void CudaMaths::linear_input_gradient(DType dtype, const MatrixView& d_y, const MatrixView& weight,
                                      const MatrixView& d_x) {
  penstock::linear_input_gradient(dtype, d_y, weight, d_x, device_);
}

void CudaMaths::linear_weight_gradient(DType dtype, const MatrixView& d_y, const MatrixView& x, bool accumulate,
                                       const MatrixView& d_weight) {
  linear_weight_gradient_fp32(dtype, d_y, x, accumulate, d_weight, device_);
}

void CudaMaths::rms_norm(DType dtype, const RmsNormForward& norm) { kernels_->rms_norm(dtype, norm); }
void CudaMaths::rms_norm_backward(DType dtype, const RmsNormBackward& norm) {
  kernels_->rms_norm_backward(dtype, norm);
}
void CudaMaths::head_norm(DType dtype, const HeadNormForward& norm) { kernels_->head_norm(dtype, norm); }
void CudaMaths::head_norm_backward(DType dtype, const HeadNormBackward& norm) {
  kernels_->head_norm_backward(dtype, norm);
}

void CudaMaths::rope_angles(int64_t tokens, const int32_t* positions, const RopeFrequencies& frequencies,
                            const RopeAngles& angles) {
  CHECK_LE(frequencies.inverse.size(), static_cast<size_t>(kMostHalfHeadDim));
  RopeAngleRows rows = {};
  rows.tokens = tokens;
  rows.half = static_cast<int64_t>(frequencies.inverse.size());
  rows.positions = positions;
  rows.angles = angles;
  rows.scale = frequencies.scale;
  std::copy(frequencies.inverse.begin(), frequencies.inverse.end(), rows.inverse);
  kernels_->rope_angles(rows);
}

void CudaMaths::rope(DType dtype, const RopeRows& rope) { kernels_->rope(dtype, rope); }

void CudaMaths::swiglu(DType dtype, int64_t rows, int64_t width, const void* gate_up, void* activated) {
  kernels_->swiglu(dtype, {rows, width, gate_up, activated});
}

void CudaMaths::swiglu_backward(DType dtype, int64_t rows, int64_t width, const void* gate_up, const void* d_activated,
                                void* activated, void* d_gate_up) {
  kernels_->swiglu_backward(dtype, {rows, width, gate_up, d_activated, activated, d_gate_up});
}

void CudaMaths::attention(const AttentionShape& shape, const BatchView& batch, void* qkv, void* attended,
                          float* logsumexp) {
  if (cuda_flash_takes(shape))
    cuda_flash_attention(shape, batch, qkv, attended, logsumexp, device_);
  else
    math_attention(shape, batch.segment_starts, qkv, attended, logsumexp, device_);
}

void CudaMaths::attention_backward(const AttentionShape& shape, const BatchView& batch, void* qkv, void* attended,
                                   float* logsumexp, void* d_attended, void* d_qkv) {
  if (cuda_flash_takes(shape))
    cuda_flash_attention_backward(shape, batch, qkv, attended, logsumexp, d_attended, d_qkv, device_);
  else
    math_attention_backward(shape, batch.segment_starts, qkv, attended, logsumexp, d_attended, d_qkv, device_);
}

void CudaMaths::append_to_cache(const AttentionShape& shape, const BatchView& batch, const void* qkv,
                                const AttentionCache& cache) {
  CHECK(batch.device.positions != nullptr);
  CHECK_EQ(batch.rows, cache.rows);
  for (const int32_t length : cache.lengths) CHECK_LE(length + batch.length, cache.capacity);
  kernels_->append_to_cache(shape.dtype, {.tokens = batch.rows * batch.length,
                                          .length = batch.length,
                                          .capacity = cache.capacity,
                                          .row_elements = shape.packed_width(),
                                          .first_key = shape.query_width(),
                                          .kv_width = shape.kv_width(),
                                          .positions = batch.device.positions,
                                          .qkv = qkv,
                                          .keys = cache.keys,
                                          .values = cache.values});
}

void CudaMaths::cached_attention(const AttentionShape& shape, void* qkv, void* attended, const AttentionCache& cache) {
  if (cuda_flash_takes(shape))
    cuda_flash_cached_attention(shape, qkv, attended, cache, device_);
  else
    math_cached_attention(shape, qkv, attended, cache, device_);
}

void CudaMaths::cross_entropy(DType dtype, const CrossEntropyRows& rows) { kernels_->cross_entropy(dtype, rows); }

void CudaMaths::add_loss_statistics(DType dtype, const PartialCrossEntropyRows& rows) {
  kernels_->add_loss_statistics(dtype, rows);
}

void CudaMaths::partial_cross_entropy_gradient(DType dtype, const PartialCrossEntropyRows& rows, float scale) {
  kernels_->partial_cross_entropy_gradient(dtype, rows, scale);
}

void CudaMaths::losses_of_statistics(int64_t rows, const int32_t* targets, const LossStatistics& statistics,
                                     double* row_losses) {
  kernels_->losses_of_statistics(rows, targets, statistics, row_losses);
}

void CudaMaths::sum_losses(const double* row_losses, int64_t rows, bool accumulate, double* sum) {
  kernels_->sum_losses(row_losses, rows, accumulate, sum);
}

#ifdef PENSTOCK_CUDA
std::unique_ptr<Maths> make_cuda_maths(void* compute_stream, int device_index, uint64_t temporary_bytes,
                                       const CudaNumerics& numerics) {
  set_cuda_numerics(numerics);
  const c10::Device device(c10::kCUDA, static_cast<c10::DeviceIndex>(device_index));
  return std::make_unique<CudaMaths>(device, compute_stream, make_cuda_kernel_set(compute_stream), temporary_bytes);
}
#else
std::unique_ptr<Maths> make_cuda_maths(void*, int, uint64_t, const CudaNumerics&) {
  throw Error(ExitCode::kDevice, "this build has no CUDA backend; configure it with -DPENSTOCK_CUDA=ON");
}
#endif

uint64_t cuda_attention_temporary_bytes(const AttentionShape& shape, int64_t rows, int64_t length, bool deterministic) {
  return cuda_allocator_bytes(cuda_flash_takes(shape) ? cuda_flash_temporary_bytes(shape, rows, length, deterministic)
                                                      : math_attention_temporary_bytes(shape, length));
}

}  // namespace penstock
