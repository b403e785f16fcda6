#include "model/decoder.h"

#include <algorithm>

#include "model/decoder_parts.h"

namespace penstock {

namespace {

// Heads as attention wants them, in saved.qkv: normed where the model does so, then rotated where the block does.
void prepare_heads(const DecoderParts& parts, const DecoderParts::BlockCall& call, int64_t tokens) {
  const SavedBuffers& saved = call.saved;
  if (parts.shape.qk_norm) {
    const BlockWeights& block = parts.block(call.block);
    float* query_weight = call.scratch.head_weights;
    float* key_weight = query_weight + parts.shape.attention.head_dim;
    parts.load_norm(block.query_norm, call.weights, query_weight);
    parts.load_norm(block.key_norm, call.weights, key_weight);
    parts.maths().head_norm(parts.shape.compute,
                            {parts.head_norm_shape(tokens), static_cast<float>(parts.config.rms_norm_eps), query_weight,
                             key_weight, saved.qkv, saved.raw_heads, saved.head_rstd});
  }
  if (!parts.config.rotates(call.block)) return;
  parts.maths().rope_angles(tokens, call.batch.device.positions, parts.frequencies, call.scratch.angles);
  parts.maths().rope(parts.shape.compute, parts.rope_rows(tokens, saved.qkv, call.scratch.angles, /*backward=*/false));
}

}  // namespace

void DecoderParts::run_attention(const BlockCall& call, const void* input, Carver& carver,
                                 c10::function_ref<void()> attend) const {
  CHECK(call.batch.device.positions != nullptr);
  const DType dtype = shape.compute;
  const int64_t tokens = call.batch.rows * call.batch.length, hidden = shape.hidden;
  const AttentionShape& heads_shape = shape.attention;
  const auto eps = static_cast<float>(config.rms_norm_eps);
  const BlockWeights& weights = block(call.block);
  const SavedBuffers& saved = call.saved;
  const BlockScratch& scratch = call.scratch;
  const uint64_t mark = carver.mark();
  const MatrixView normed = matrix(carver.take_elements(dtype, tokens * hidden), tokens, hidden);

  load_norm(weights.input_norm, call.weights, scratch.norm_weight);
  maths().rms_norm(dtype, {tokens, hidden, eps, input, scratch.norm_weight, normed.data, saved.input_rstd});
  weights.qkv.apply(maths(), call.weights, normed, scratch.projection,
                    matrix(saved.qkv, tokens, heads_shape.packed_width()));
  prepare_heads(*this, call, tokens);
  attend();
  const MatrixView residual = matrix(saved.residual, tokens, hidden);
  weights.attention_out.apply_add(maths(), call.weights, matrix(input, tokens, hidden),
                                  matrix(saved.attended, tokens, heads_shape.query_width()), scratch.projection,
                                  residual);

  load_norm(weights.post_norm, call.weights, scratch.norm_weight);
  maths().rms_norm(dtype, {tokens, hidden, eps, residual.data, scratch.norm_weight, normed.data, saved.residual_rstd});
  weights.gate_up.apply(maths(), call.weights, normed, scratch.projection,
                        matrix(saved.gate_up, tokens, 2 * shape.inner));
  carver.rewind(mark);
}

void DecoderParts::run_mlp(const BlockCall& call, void* output, Carver& carver) const {
  const int64_t tokens = call.batch.rows * call.batch.length;
  const uint64_t mark = carver.mark();
  const MatrixView activated = matrix(carver.take_elements(shape.compute, tokens * shape.inner), tokens, shape.inner);
  maths().swiglu(shape.compute, tokens, shape.inner, call.saved.gate_up, activated.data);
  block(call.block)
      .down.apply_add(maths(), call.weights, matrix(call.saved.residual, tokens, shape.hidden), activated,
                      call.scratch.projection, matrix(output, tokens, shape.hidden));
  carver.rewind(mark);
}

uint64_t DecoderParts::forward_bytes() const {
  Carver carver;
  block_scratch(max_tokens, carver);
  carve_saved(shape, max_tokens, carver);
  carver.take_elements(shape.compute, max_tokens * std::max(shape.hidden, shape.inner));  // normed, then activated
  return carver.peak_bytes();
}

uint64_t DecoderParts::temporary_bytes() const {
  uint64_t bytes = 0;
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    bytes =
        std::max(bytes, attention_temporary_bytes(settings.backend, attention_shape(i), settings.rows, settings.length,
                                                  settings.compute_threads, settings.deterministic));
  }
  return bytes;
}

Decoder::Decoder(const ModelConfig& config, const DecoderSettings& settings, Maths& maths)
    : parts_(std::make_unique<DecoderParts>(config, settings, &maths)) {}
Decoder::~Decoder() = default;

DecoderBytes decoder_bytes(const ModelConfig& config, const DecoderSettings& settings) {
  const DecoderParts parts(config, settings, /*maths_of_device=*/nullptr);
  Carver saved;
  carve_saved(parts.shape, parts.max_tokens, saved);
  return {
      .activation = static_cast<uint64_t>(parts.max_tokens * parts.shape.hidden) * dtype_bytes(parts.shape.compute),
      .saved = saved.peak_bytes(),
      .workspace = std::max({parts.forward_bytes(), parts.backward_bytes(), parts.loss_bytes(), parts.logits_bytes()}),
      .temporary = parts.temporary_bytes()};
}

void Decoder::forward(int64_t block, ConstBytes weights, ConstBytes input, std::span<std::byte> output,
                      std::span<std::byte> saved, std::span<std::byte> workspace, const BatchView& batch) {
  const int64_t tokens = parts_->token_count(batch);
  Carver carver(workspace);
  const BlockScratch scratch = parts_->block_scratch(tokens, carver);
  const SavedBuffers buffers = parts_->saved_buffers(saved, tokens, carver);
  const DecoderParts::BlockCall call{block, weights, batch, buffers, scratch};
  parts_->run_attention(call, input.data(), carver, [&] {
    parts_->maths().attention(parts_->attention_shape(block), batch, buffers.qkv, buffers.attended, buffers.logsumexp);
  });
  parts_->run_mlp(call, output.data(), carver);
}

void Decoder::recompute(int64_t block, ConstBytes weights, ConstBytes input, std::span<std::byte> saved,
                        std::span<std::byte> workspace, const BatchView& batch) {
  const int64_t tokens = parts_->token_count(batch);
  Carver carver(workspace);
  const BlockScratch scratch = parts_->block_scratch(tokens, carver);
  const SavedBuffers buffers = parts_->saved_buffers(saved, tokens, carver);
  parts_->run_attention({block, weights, batch, buffers, scratch}, input.data(), carver, [&] {
    parts_->maths().attention(parts_->attention_shape(block), batch, buffers.qkv, buffers.attended, buffers.logsumexp);
  });
}

}  // namespace penstock
