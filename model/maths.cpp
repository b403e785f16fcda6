#include "model/maths.h"

#include "model/cuda/kernel_set.h"
#include "model/cuda_maths.h"

namespace penstock {

DType weight_gradient_type(Backend backend, DType compute) {
  return backend == Backend::kCuda ? DType::kFloat32 : compute;
}

int64_t rms_norm_partials(Backend backend, int64_t rows, int64_t hidden) {
  return backend == Backend::kCuda ? kernel_norm_partials(rows, hidden) : rms_norm_partials(rows, hidden);
}

int64_t head_norm_partials(Backend backend, int64_t rows, int64_t head_dim) {
  return backend == Backend::kCuda ? kernel_norm_partials(rows, 2 * head_dim) : head_norm_partials(rows, head_dim);
}

uint64_t attention_temporary_bytes(Backend backend, const AttentionShape& shape, int64_t rows, int64_t length,
                                   int threads, bool deterministic) {
  return backend == Backend::kCuda ? cuda_attention_temporary_bytes(shape, rows, length, deterministic)
                                   : attention_temporary_bytes(shape, rows, length, threads);
}

}  // namespace penstock
