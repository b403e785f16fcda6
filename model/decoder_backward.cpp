// Backward of one block, in the reverse order of run_attention and run_mlp. Normed inputs and the activated MLP are
// rebuilt from what forward saved: that costs a pass over memory and saves 4 (C + F) bytes a token at bf16.
#include <algorithm>

#include "model/decoder_parts.h"

namespace penstock {

namespace {

// The halves of a block's backward use these one after the other.
struct MlpScratch {
  void* activated;  // [N, F], first d_activated
  void* d_gate_up;  // [N, 2F]
};
struct AttentionScratch {
  void* d_attended;  // [N, q]
  void* d_qkv;       // [N, q + k + v]
};

MlpScratch carve_mlp(const DecoderShape& shape, int64_t tokens, Carver& carver) {
  MlpScratch scratch;
  scratch.activated = carver.take_elements(shape.compute, tokens * shape.inner);
  scratch.d_gate_up = carver.take_elements(shape.compute, tokens * 2 * shape.inner);
  return scratch;
}

AttentionScratch carve_attention(const DecoderShape& shape, int64_t tokens, Carver& carver) {
  AttentionScratch scratch;
  scratch.d_attended = carver.take_elements(shape.compute, tokens * shape.attention.query_width());
  scratch.d_qkv = carver.take_elements(shape.compute, tokens * shape.attention.packed_width());
  return scratch;
}

// The operands that both halves share.
struct BackwardCall {
  int64_t block;
  ConstBytes weights;
  const SavedBuffers& saved;
  const BlockScratch& scratch;
  const BackwardScratch& backward;
  std::span<float> gradient;
  bool accumulate;
  int64_t tokens;

  float* gradient_of(const TensorPlace& place) const {
    return place.spec.trainable ? gradient.data() + place.offset : nullptr;
  }
};

// The linear layer whose input is a norm of x, and that norm, with all their gradients: from d_y to
// d_x = d_skip + (through both). d_x null: only what is trained. Rebuilds the normed input where it is needed.
struct NormedProjection {
  const Projection& projection;
  const TensorPlace& norm;
  const void* x;
  const float* rstd;
};
void normed_projection_backward(const DecoderParts& parts, const BackwardCall& call, const NormedProjection& layer,
                                const MatrixView& d_y, const void* d_skip, void* d_x) {
  const DType dtype = parts.shape.compute;
  const int64_t tokens = call.tokens, hidden = parts.shape.hidden;
  const MatrixView normed = parts.matrix(call.backward.normed, tokens, hidden);
  void* rebuilt = layer.projection.weight_trains() ? normed.data : nullptr;
  if (rebuilt != nullptr || layer.norm.spec.trainable || d_x != nullptr) {
    parts.load_norm(layer.norm, call.weights, call.scratch.norm_weight);
  }
  if (layer.norm.spec.trainable || d_x != nullptr) {
    const MatrixView d_normed = parts.matrix(call.backward.d_normed, tokens, hidden);
    layer.projection.input_gradient(parts.maths(), call.weights, d_y, call.scratch.projection, d_normed);
    parts.maths().rms_norm_backward(dtype, {.rows = tokens,
                                            .hidden = hidden,
                                            .x = layer.x,
                                            .weight = call.scratch.norm_weight,
                                            .rstd = layer.rstd,
                                            .d_normed = d_normed.data,
                                            .d_skip = d_skip,
                                            .d_x = d_x,
                                            .normed = rebuilt,
                                            .partials = call.backward.partials,
                                            .weight_gradient = call.gradient_of(layer.norm),
                                            .accumulate = call.accumulate});
  } else if (rebuilt != nullptr) {
    parts.maths().rms_norm(dtype, {tokens, hidden, static_cast<float>(parts.config.rms_norm_eps), layer.x,
                                   call.scratch.norm_weight, rebuilt, /*rstd=*/nullptr});
  }
  layer.projection.add_gradients(parts.maths(), d_y, normed, call.gradient, call.accumulate, call.scratch.projection);
}

// d_output -> backward.d_residual, where `d_residual` is not null
void mlp_backward(const DecoderParts& parts, const BackwardCall& call, const void* d_output, bool reaches_gate_up,
                  void* d_residual, Carver& carver) {
  const DType dtype = parts.shape.compute;
  const int64_t tokens = call.tokens, inner = parts.shape.inner;
  const BlockWeights& block = parts.block(call.block);
  const MlpScratch mlp = carve_mlp(parts.shape, tokens, carver);
  const MatrixView d_out = parts.matrix(d_output, tokens, parts.shape.hidden);
  const MatrixView activated = parts.matrix(mlp.activated, tokens, inner);
  const MatrixView d_gate_up = parts.matrix(mlp.d_gate_up, tokens, 2 * inner);

  if (reaches_gate_up) {
    block.down.input_gradient(parts.maths(), call.weights, d_out, call.scratch.projection, activated);
    parts.maths().swiglu_backward(dtype, tokens, inner, call.saved.gate_up, activated.data, activated.data,
                                  d_gate_up.data);
  } else if (block.down.weight_trains()) {
    parts.maths().swiglu(dtype, tokens, inner, call.saved.gate_up, activated.data);
  }
  block.down.add_gradients(parts.maths(), d_out, activated, call.gradient, call.accumulate, call.scratch.projection);
  if (!reaches_gate_up) return;
  normed_projection_backward(parts, call,
                             {block.gate_up, block.post_norm, call.saved.residual, call.saved.residual_rstd}, d_gate_up,
                             d_output, d_residual);
}

// The gradient of the heads as attention saw them -> as the GEMM made them, in place.
void heads_backward(const DecoderParts& parts, const BackwardCall& call, const BatchView& batch, void* d_qkv) {
  const DType dtype = parts.shape.compute;
  if (parts.config.rotates(call.block)) {
    parts.maths().rope_angles(call.tokens, batch.device.positions, parts.frequencies, call.scratch.angles);
    parts.maths().rope(dtype, parts.rope_rows(call.tokens, d_qkv, call.scratch.angles, /*backward=*/true));
  }
  if (!parts.shape.qk_norm) return;
  const BlockWeights& block = parts.block(call.block);
  float* query_weight = call.scratch.head_weights;
  float* key_weight = query_weight + parts.shape.attention.head_dim;
  parts.load_norm(block.query_norm, call.weights, query_weight);
  parts.load_norm(block.key_norm, call.weights, key_weight);
  parts.maths().head_norm_backward(dtype, {.shape = parts.head_norm_shape(call.tokens),
                                           .query_weight = query_weight,
                                           .key_weight = key_weight,
                                           .raw = call.saved.raw_heads,
                                           .rstd = call.saved.head_rstd,
                                           .d_values = d_qkv,
                                           .partials = call.backward.partials,
                                           .query_gradient = call.gradient_of(block.query_norm),
                                           .key_gradient = call.gradient_of(block.key_norm),
                                           .accumulate = call.accumulate});
}

// backward.d_residual -> d_input, where that is not null
void attention_half_backward(const DecoderParts& parts, const BackwardCall& call, const void* input, void* d_input,
                             const BatchView& batch, Carver& carver) {
  const AttentionShape heads = parts.attention_shape(call.block);
  const int64_t tokens = call.tokens;
  const BlockWeights& block = parts.block(call.block);
  const AttentionScratch scratch = carve_attention(parts.shape, tokens, carver);
  const MatrixView d_residual = parts.matrix(call.backward.d_residual, tokens, parts.shape.hidden);
  const MatrixView d_attended = parts.matrix(scratch.d_attended, tokens, heads.query_width());
  const MatrixView d_qkv = parts.matrix(scratch.d_qkv, tokens, heads.packed_width());

  block.attention_out.add_gradients(parts.maths(), d_residual,
                                    parts.matrix(call.saved.attended, tokens, heads.query_width()), call.gradient,
                                    call.accumulate, call.scratch.projection);
  if (!block.reaches_qkv(d_input != nullptr)) return;
  block.attention_out.input_gradient(parts.maths(), call.weights, d_residual, call.scratch.projection, d_attended);
  parts.maths().attention_backward(heads, batch, call.saved.qkv, call.saved.attended, call.saved.logsumexp,
                                   d_attended.data, d_qkv.data);
  heads_backward(parts, call, batch, d_qkv.data);
  normed_projection_backward(parts, call, {block.qkv, block.input_norm, input, call.saved.input_rstd}, d_qkv,
                             d_residual.data, d_input);
}

}  // namespace

uint64_t DecoderParts::backward_bytes() const {
  Carver carver;
  block_scratch(max_tokens, carver);
  carve_backward(shape, max_tokens, carver);
  const uint64_t mark = carver.mark();
  carve_mlp(shape, max_tokens, carver);
  carver.rewind(mark);
  carve_attention(shape, max_tokens, carver);
  return carver.peak_bytes();
}

void Decoder::backward(int64_t block, ConstBytes weights, ConstBytes input, ConstBytes saved, ConstBytes d_output,
                       std::span<std::byte> d_input, std::span<float> gradient, bool accumulate,
                       std::span<std::byte> workspace, const BatchView& batch) {
  const DecoderParts& parts = *parts_;
  const int64_t tokens = parts.token_count(batch);
  const BlockWeights& tensors = parts.block(block);
  CHECK_GE(gradient.size(), tensors.trainable_elements);
  Carver saved_carver({const_cast<std::byte*>(saved.data()), saved.size()});
  const SavedBuffers buffers = carve_saved(parts.shape, tokens, saved_carver);
  Carver carver(workspace);
  const BlockScratch scratch = parts.block_scratch(tokens, carver);
  const BackwardScratch backward = carve_backward(parts.shape, tokens, carver);
  const BackwardCall call{block, weights, buffers, scratch, backward, gradient, accumulate, tokens};

  const bool wants_input = !d_input.empty();
  const bool reaches_residual = tensors.reaches_residual(wants_input);
  const uint64_t mark = carver.mark();
  mlp_backward(parts, call, d_output.data(), tensors.reaches_gate_up(wants_input),
               reaches_residual ? backward.d_residual : nullptr, carver);
  carver.rewind(mark);
  if (!reaches_residual) return;
  attention_half_backward(parts, call, input.data(), wants_input ? d_input.data() : nullptr, batch, carver);
}

}  // namespace penstock
