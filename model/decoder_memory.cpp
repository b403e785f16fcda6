#include "model/decoder_memory.h"

#include "model/rms_norm.h"

namespace penstock {

SavedBuffers carve_saved(const DecoderShape& shape, int64_t tokens, Carver& carver) {
  SavedBuffers saved;
  saved.qkv = carver.take_elements(shape.compute, tokens * shape.attention.packed_width());
  saved.attended = carver.take_elements(shape.compute, tokens * shape.attention.query_width());
  saved.logsumexp = carver.take<float>(tokens * shape.attention.query_heads);
  saved.residual = carver.take_elements(shape.compute, tokens * shape.hidden);
  saved.gate_up = carver.take_elements(shape.compute, tokens * 2 * shape.inner);
  saved.input_rstd = carver.take<float>(tokens);
  saved.residual_rstd = carver.take<float>(tokens);
  return saved;
}

BlockScratch carve_block(const DecoderShape& shape, int64_t tokens, int64_t weight_elements, Carver& carver) {
  BlockScratch scratch;
  scratch.angles.cosines = carver.take<float>(tokens * (shape.attention.head_dim / 2));
  scratch.angles.sines = carver.take<float>(tokens * (shape.attention.head_dim / 2));
  scratch.norm_weight = carver.take<float>(shape.hidden);
  scratch.weight = carver.take_elements(shape.compute, weight_elements);
  return scratch;
}

BackwardScratch carve_backward(const DecoderShape& shape, int64_t tokens, Carver& carver) {
  BackwardScratch scratch;
  scratch.normed = carver.take_elements(shape.compute, tokens * shape.hidden);
  scratch.d_normed = carver.take_elements(shape.compute, tokens * shape.hidden);
  scratch.d_residual = carver.take_elements(shape.compute, tokens * shape.hidden);
  scratch.partials = carver.take<float>(rms_norm_partials(tokens, shape.hidden));
  return scratch;
}

LossScratch carve_loss(const DecoderShape& shape, int64_t chunk_tokens, int64_t weight_elements,
                       int64_t gradient_elements, Carver& carver) {
  LossScratch scratch;
  scratch.norm_weight = carver.take<float>(shape.hidden);
  scratch.weight = carver.take_elements(shape.compute, weight_elements);
  scratch.weight_gradient = carver.take_elements(shape.compute, gradient_elements);
  scratch.row_losses = carver.take<double>(chunk_tokens);
  scratch.rstd = carver.take<float>(chunk_tokens);
  scratch.partials = carver.take<float>(rms_norm_partials(chunk_tokens, shape.hidden));
  scratch.normed = carver.take_elements(shape.compute, chunk_tokens * shape.hidden);
  scratch.d_normed = carver.take_elements(shape.compute, chunk_tokens * shape.hidden);
  scratch.logits = carver.take_elements(shape.compute, chunk_tokens * shape.vocab);
  return scratch;
}

}  // namespace penstock
