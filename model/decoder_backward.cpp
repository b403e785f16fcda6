// Backward of one block, in the reverse order of run_attention and run_mlp. Normed inputs and the activated MLP are
// rebuilt from what forward saved: that costs a pass over memory and saves 4 (C + F) bytes a token at bf16.
#include <algorithm>

#include <c10/core/InferenceMode.h>

#include "model/decoder_parts.h"
#include "model/rms_norm.h"
#include "model/swiglu.h"

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
  ConstBytes weights;
  const SavedBuffers& saved;
  const BlockScratch& block;
  const BackwardScratch& scratch;
  std::span<float> gradient;
  bool accumulate;
  int64_t tokens;
};

// From d_normed to d_x = d_skip + (through the norm), with the norm's own gradient; rebuilds normed.
void norm_backward(const DecoderParts& parts, const BackwardCall& call, const TensorPlace& place, const void* x,
                   const float* rstd, const void* d_skip, void* d_x) {
  parts.load_norm(place, call.weights, call.block.norm_weight);
  rms_norm_backward(parts.shape.compute, {.rows = call.tokens,
                                          .hidden = parts.shape.hidden,
                                          .x = x,
                                          .weight = call.block.norm_weight,
                                          .rstd = rstd,
                                          .d_normed = call.scratch.d_normed,
                                          .d_skip = d_skip,
                                          .d_x = d_x,
                                          .normed = call.scratch.normed,
                                          .partials = call.scratch.partials,
                                          .weight_gradient = call.gradient.data() + place.offset,
                                          .accumulate = call.accumulate});
}

// d_output -> scratch.d_residual
void mlp_backward(const DecoderParts& parts, const BackwardCall& call, const void* d_output, Carver& carver) {
  const DType dtype = parts.shape.compute;
  const int64_t tokens = call.tokens, hidden = parts.shape.hidden, inner = parts.shape.inner;
  void* weight_scratch = call.block.weight;
  const MlpScratch mlp = carve_mlp(parts.shape, tokens, carver);
  const MatrixView d_out = parts.matrix(d_output, tokens, hidden);
  const MatrixView activated = parts.matrix(mlp.activated, tokens, inner);
  const MatrixView d_gate_up = parts.matrix(mlp.d_gate_up, tokens, 2 * inner);

  linear_input_gradient(dtype, d_out, parts.down.operand(call.weights, weight_scratch), activated);
  swiglu_backward(dtype, tokens, inner, call.saved.gate_up, activated.data, activated.data, d_gate_up.data);
  parts.down.add_gradient(d_out, activated, call.gradient, call.accumulate, weight_scratch);
  linear_input_gradient(dtype, d_gate_up, parts.gate_up.operand(call.weights, weight_scratch),
                        parts.matrix(call.scratch.d_normed, tokens, hidden));
  norm_backward(parts, call, parts.post_norm, call.saved.residual, call.saved.residual_rstd, d_output,
                call.scratch.d_residual);
  parts.gate_up.add_gradient(d_gate_up, parts.matrix(call.scratch.normed, tokens, hidden), call.gradient,
                             call.accumulate, weight_scratch);
}

// scratch.d_residual -> d_input
void attention_half_backward(const DecoderParts& parts, const BackwardCall& call, const void* input, void* d_input,
                             const BatchView& batch, Carver& carver) {
  const DType dtype = parts.shape.compute;
  const AttentionShape& heads = parts.shape.attention;
  const int64_t tokens = call.tokens, hidden = parts.shape.hidden;
  void* weight_scratch = call.block.weight;
  const AttentionScratch scratch = carve_attention(parts.shape, tokens, carver);
  const MatrixView d_residual = parts.matrix(call.scratch.d_residual, tokens, hidden);
  const MatrixView d_attended = parts.matrix(scratch.d_attended, tokens, heads.query_width());
  const MatrixView d_qkv = parts.matrix(scratch.d_qkv, tokens, heads.packed_width());

  linear_input_gradient(dtype, d_residual, parts.attention_out.operand(call.weights, weight_scratch), d_attended);
  parts.attention_out.add_gradient(d_residual, parts.matrix(call.saved.attended, tokens, heads.query_width()),
                                   call.gradient, call.accumulate, weight_scratch);
  attention_backward(heads, batch, call.saved.qkv, call.saved.attended, call.saved.logsumexp, d_attended.data,
                     d_qkv.data);
  rope_angles(batch.positions, parts.inverse_frequencies, call.block.angles);
  rope(dtype, {tokens, heads.packed_width(), heads.query_heads + heads.kv_heads, heads.head_dim, d_qkv.data,
               call.block.angles, /*backward=*/true});
  linear_input_gradient(dtype, d_qkv, parts.qkv.operand(call.weights, weight_scratch),
                        parts.matrix(call.scratch.d_normed, tokens, hidden));
  norm_backward(parts, call, parts.input_norm, input, call.saved.input_rstd, d_residual.data, d_input);
  parts.qkv.add_gradient(d_qkv, parts.matrix(call.scratch.normed, tokens, hidden), call.gradient, call.accumulate,
                         weight_scratch);
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

void Decoder::backward(ConstBytes weights, ConstBytes input, ConstBytes saved, ConstBytes d_output,
                       std::span<std::byte> d_input, std::span<float> gradient, bool accumulate,
                       std::span<std::byte> workspace, const BatchView& batch) {
  const c10::InferenceMode no_autograd;
  const DecoderParts& parts = *parts_;
  const int64_t tokens = parts.token_count(batch);
  Carver saved_carver({const_cast<std::byte*>(saved.data()), saved.size()});
  const SavedBuffers buffers = carve_saved(parts.shape, tokens, saved_carver);
  Carver carver(workspace);
  const BlockScratch block = parts.block_scratch(tokens, carver);
  const BackwardScratch scratch = carve_backward(parts.shape, tokens, carver);
  const BackwardCall call{weights, buffers, block, scratch, gradient, accumulate, tokens};

  const uint64_t mark = carver.mark();
  mlp_backward(parts, call, d_output.data(), carver);
  carver.rewind(mark);
  attention_half_backward(parts, call, input.data(), d_input.data(), batch, carver);
}

}  // namespace penstock
