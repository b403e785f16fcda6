#include "model/decoder_memory.h"

#include <algorithm>

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
  saved.raw_heads = nullptr;
  saved.head_rstd = nullptr;
  if (shape.qk_norm) {
    saved.raw_heads = carver.take_elements(shape.compute, tokens * shape.normed_heads() * shape.attention.head_dim);
    saved.head_rstd = carver.take<float>(tokens * shape.normed_heads());
  }
  return saved;
}

BlockScratch carve_block(const DecoderShape& shape, int64_t tokens, const ProjectionBytes& bytes, Carver& carver) {
  BlockScratch scratch;
  scratch.angles.cosines = carver.take<float>(tokens * (shape.attention.head_dim / 2));
  scratch.angles.sines = carver.take<float>(tokens * (shape.attention.head_dim / 2));
  scratch.norm_weight = carver.take<float>(shape.hidden);
  scratch.head_weights = shape.qk_norm ? carver.take<float>(2 * shape.attention.head_dim) : nullptr;
  scratch.projection.weight = carver.take_bytes(bytes.weight);
  scratch.projection.bias = carver.take_bytes(bytes.bias);
  return scratch;
}

BackwardScratch carve_backward(const DecoderShape& shape, int64_t tokens, Carver& carver) {
  BackwardScratch scratch;
  scratch.normed = carver.take_elements(shape.compute, tokens * shape.hidden);
  scratch.d_normed = carver.take_elements(shape.compute, tokens * shape.hidden);
  scratch.d_residual = carver.take_elements(shape.compute, tokens * shape.hidden);
  const int64_t head_partials = shape.qk_norm ? head_norm_partials(shape.backend, tokens, shape.attention.head_dim) : 0;
  scratch.partials =
      carver.take<float>(std::max(rms_norm_partials(shape.backend, tokens, shape.hidden), head_partials));
  return scratch;
}

LossScratch carve_loss(const DecoderShape& shape, int64_t chunk_tokens, uint64_t weight_bytes, uint64_t gradient_bytes,
                       Carver& carver) {
  LossScratch scratch;
  scratch.norm_weight = carver.take<float>(shape.hidden);
  scratch.weight = carver.take_bytes(weight_bytes);
  scratch.weight_gradient = carver.take_bytes(gradient_bytes);
  scratch.row_losses = carver.take<double>(chunk_tokens);
  scratch.rstd = carver.take<float>(chunk_tokens);
  scratch.partials = carver.take<float>(rms_norm_partials(shape.backend, chunk_tokens, shape.hidden));
  scratch.normed = carver.take_elements(shape.compute, chunk_tokens * shape.hidden);
  scratch.d_normed = carver.take_elements(shape.compute, chunk_tokens * shape.hidden);
  scratch.logits = carver.take_elements(shape.compute, chunk_tokens * shape.vocab);
  return scratch;
}

}  // namespace penstock
