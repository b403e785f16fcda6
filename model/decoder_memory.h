// How a decoder's buffers are cut out of the bytes the caller planned.
// One type measures and carves, by the same code, so that sizes and places cannot disagree.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/bytes.h"
#include "core/check.h"
#include "model/decoder.h"
#include "model/maths.h"
#include "model/projection.h"

namespace penstock {

// Without bytes it only measures: the pointers it hands out may not be followed.
class Carver {
 public:
  Carver() = default;
  explicit Carver(std::span<std::byte> bytes) : base_(bytes.data()), size_bytes_(bytes.size()) {
    CHECK_EQ(reinterpret_cast<uintptr_t>(base_) % 64, 0u);
  }

  void* take_bytes(uint64_t bytes) {
    void* place = base_ + used_bytes_;
    used_bytes_ = align_up(used_bytes_ + bytes, kTensorAlignment);
    peak_bytes_ = used_bytes_ > peak_bytes_ ? used_bytes_ : peak_bytes_;
    CHECK_LE(peak_bytes_, size_bytes_);
    return place;
  }
  template <typename T>
  T* take(int64_t count) {
    return static_cast<T*>(take_bytes(static_cast<uint64_t>(count) * sizeof(T)));
  }
  void* take_elements(DType dtype, int64_t count) {
    return take_bytes(static_cast<uint64_t>(count) * dtype_bytes(dtype));
  }

  // What was taken since `mark` is given back.
  uint64_t mark() const { return used_bytes_; }
  void rewind(uint64_t mark) { used_bytes_ = mark; }
  uint64_t peak_bytes() const { return peak_bytes_; }

 private:
  std::byte* base_ = nullptr;
  uint64_t size_bytes_ = UINT64_MAX;
  uint64_t used_bytes_ = 0;
  uint64_t peak_bytes_ = 0;
};

// The extents of a block and of the head. C hidden, F feed-forward, V vocabulary (of the largest part of the head).
struct DecoderShape {
  Backend backend;
  DType compute;
  int64_t hidden, inner, vocab;
  AttentionShape attention;  // its window is the block's business
  bool qk_norm;

  int64_t normed_heads() const { return attention.query_heads + attention.kv_heads; }
};

// What backward needs of one block and one micro-batch, beside the block's input.
struct SavedBuffers {
  void* qkv;             // [N, q + k + v] after RoPE
  void* attended;        // [N, q]
  float* logsumexp;      // [N, query_heads]
  void* residual;        // [N, C], after attention
  void* gate_up;         // [N, 2F]
  float* input_rstd;     // [N]
  float* residual_rstd;  // [N]
  void* raw_heads;       // [N, q + k] before the QK-norm; with qk_norm only
  float* head_rstd;      // [N, query_heads + kv_heads]; the same
};
SavedBuffers carve_saved(const DecoderShape& shape, int64_t tokens, Carver& carver);

// Scratch that every call on a block begins with.
struct BlockScratch {
  RopeAngles angles;             // [N, D/2]
  float* norm_weight;            // [C]
  float* head_weights;           // [2, D], the QK-norm's; with qk_norm only
  ProjectionScratch projection;  // one weight as a GEMM operand, or one weight's gradient; and one bias
};
struct ProjectionBytes {
  uint64_t weight, bias;
};
BlockScratch carve_block(const DecoderShape& shape, int64_t tokens, const ProjectionBytes& bytes, Carver& carver);

struct BackwardScratch {
  void* normed;      // [N, C]
  void* d_normed;    // [N, C]
  void* d_residual;  // [N, C]
  float* partials;   // the norms' weight gradients
};
BackwardScratch carve_backward(const DecoderShape& shape, int64_t tokens, Carver& carver);

struct LossScratch {
  float* norm_weight;     // [C]
  void* weight;           // lm_head as a GEMM operand, weight_bytes long
  void* weight_gradient;  // its gradient as the GEMM makes it, gradient_bytes long
  double* row_losses;     // [chunk]
  float* rstd;            // [chunk]
  float* partials;
  void* normed;    // [chunk, C]
  void* d_normed;  // [chunk, C]
  void* logits;    // [chunk, V]
};
LossScratch carve_loss(const DecoderShape& shape, int64_t chunk_tokens, uint64_t weight_bytes, uint64_t gradient_bytes,
                       Carver& carver);

}  // namespace penstock
