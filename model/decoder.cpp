#include "model/decoder.h"

#include <algorithm>

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include "model/decoder_parts.h"
#include "model/element_casts.h"
#include "model/layer_specs.h"
#include "model/rms_norm.h"
#include "model/swiglu.h"

namespace penstock {

DecoderParts::DecoderParts(const ModelConfig& model_config, const DecoderSettings& decoder_settings)
    : config(model_config), settings(decoder_settings), max_tokens(decoder_settings.rows * decoder_settings.length) {
  CHECK(settings.compute != DType::kFloat16 && settings.wire != DType::kFloat16);
  CHECK_GT(max_tokens, 0);
  CHECK_GT(settings.loss_chunk_tokens, 0);
  const AttentionShape heads{settings.compute, config.num_attention_heads, config.num_key_value_heads, config.head_dim};
  shape = {settings.compute, config.hidden_size, config.intermediate_size, config.vocab_size, heads};
  inverse_frequencies = rope_inverse_frequencies(config.rope_theta, config.head_dim);

  const std::vector<LayerLayout> layouts = layer_layouts(config);
  const LayerLayout& block = layouts[1];
  const LayerLayout& head = layouts.back();
  const std::string prefix = "model.layers.0.";
  const auto fused = [&](const std::vector<std::string>& names) {
    std::vector<std::string> full_names;
    for (const std::string& name : names) full_names.push_back(prefix + name + ".weight");
    return FusedWeight(block, full_names, settings.wire, settings.compute);
  };
  input_norm = block.tensor(prefix + "input_layernorm.weight");
  qkv = fused({"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"});
  attention_out = fused({"self_attn.o_proj"});
  post_norm = block.tensor(prefix + "post_attention_layernorm.weight");
  gate_up = fused({"mlp.gate_proj", "mlp.up_proj"});
  down = fused({"mlp.down_proj"});
  final_norm = head.tensor("model.norm.weight");
  lm_head = FusedWeight(head, {"lm_head.weight"}, settings.wire, settings.compute);
  for (const FusedWeight* weight : {&qkv, &attention_out, &gate_up, &down}) {
    operand_scratch = std::max(operand_scratch, weight->operand_scratch());
    gradient_scratch = std::max(gradient_scratch, weight->gradient_scratch());
  }
}

int64_t DecoderParts::token_count(const BatchView& batch) const {
  const int64_t tokens = batch.rows * batch.length;
  CHECK_GT(tokens, 0);
  CHECK_LE(tokens, max_tokens);
  CHECK_EQ(static_cast<int64_t>(batch.positions.size()), tokens);
  return tokens;
}

MatrixView DecoderParts::matrix(const void* data, int64_t rows, int64_t cols) const {
  return {const_cast<void*>(data), rows, cols};
}

void DecoderParts::load_norm(const TensorPlace& place, ConstBytes weights, float* scratch) const {
  const uint64_t wire_bytes = dtype_bytes(settings.wire);
  CHECK_LE((place.offset + place.element_count) * wire_bytes, weights.size());
  cast_elements(settings.wire, weights.data() + place.offset * wire_bytes, DType::kFloat32, scratch,
                static_cast<int64_t>(place.element_count));
}

BlockScratch DecoderParts::block_scratch(int64_t tokens, Carver& carver) const {
  return carve_block(shape, tokens, std::max(operand_scratch, gradient_scratch), carver);
}

// Into `saved` where the caller keeps the intermediates, else into the workspace.
SavedBuffers DecoderParts::saved_buffers(std::span<std::byte> saved, int64_t tokens, Carver& workspace) const {
  if (saved.empty()) return carve_saved(shape, tokens, workspace);
  Carver carver(saved);
  return carve_saved(shape, tokens, carver);
}

void DecoderParts::run_attention(ConstBytes weights, const void* input, const SavedBuffers& saved,
                                 const BlockScratch& scratch, const BatchView& batch, Carver& carver,
                                 c10::function_ref<void()> attend) const {
  const DType dtype = shape.compute;
  const int64_t tokens = batch.rows * batch.length, hidden = shape.hidden;
  const AttentionShape& heads = shape.attention;
  const auto eps = static_cast<float>(config.rms_norm_eps);
  const uint64_t mark = carver.mark();
  const MatrixView normed = matrix(carver.take_elements(dtype, tokens * hidden), tokens, hidden);

  load_norm(input_norm, weights, scratch.norm_weight);
  rms_norm(dtype, {tokens, hidden, eps, input, scratch.norm_weight, normed.data, saved.input_rstd});
  linear(dtype, normed, qkv.operand(weights, scratch.weight), matrix(saved.qkv, tokens, heads.packed_width()));
  rope_angles(batch.positions, inverse_frequencies, scratch.angles);
  rope(dtype, {tokens, heads.packed_width(), heads.query_heads + heads.kv_heads, heads.head_dim, saved.qkv,
               scratch.angles, /*backward=*/false});
  attend();
  const MatrixView residual = matrix(saved.residual, tokens, hidden);
  linear_add(dtype, matrix(input, tokens, hidden), matrix(saved.attended, tokens, heads.query_width()),
             attention_out.operand(weights, scratch.weight), residual);

  load_norm(post_norm, weights, scratch.norm_weight);
  rms_norm(dtype, {tokens, hidden, eps, residual.data, scratch.norm_weight, normed.data, saved.residual_rstd});
  linear(dtype, normed, gate_up.operand(weights, scratch.weight), matrix(saved.gate_up, tokens, 2 * shape.inner));
  carver.rewind(mark);
}

void DecoderParts::run_mlp(ConstBytes weights, const SavedBuffers& saved, const BlockScratch& scratch, int64_t tokens,
                           void* output, Carver& carver) const {
  const uint64_t mark = carver.mark();
  const MatrixView activated = matrix(carver.take_elements(shape.compute, tokens * shape.inner), tokens, shape.inner);
  swiglu(shape.compute, tokens, shape.inner, saved.gate_up, activated.data);
  linear_add(shape.compute, matrix(saved.residual, tokens, shape.hidden), activated,
             down.operand(weights, scratch.weight), matrix(output, tokens, shape.hidden));
  carver.rewind(mark);
}

uint64_t DecoderParts::forward_bytes() const {
  Carver carver;
  block_scratch(max_tokens, carver);
  carve_saved(shape, max_tokens, carver);
  carver.take_elements(shape.compute, max_tokens * std::max(shape.hidden, shape.inner));  // normed, then activated
  return carver.peak_bytes();
}

Decoder::Decoder(const ModelConfig& config, const DecoderSettings& settings)
    : parts_(std::make_unique<DecoderParts>(config, settings)) {}
Decoder::~Decoder() = default;

DecoderBytes Decoder::bytes() const {
  const DecoderParts& parts = *parts_;
  Carver saved;
  carve_saved(parts.shape, parts.max_tokens, saved);
  return {
      .activation = static_cast<uint64_t>(parts.max_tokens * parts.shape.hidden) * dtype_bytes(parts.shape.compute),
      .saved = saved.peak_bytes(),
      .workspace = std::max({parts.forward_bytes(), parts.backward_bytes(), parts.loss_bytes(), parts.logits_bytes()}),
      .temporary = attention_temporary_bytes(parts.shape.attention, parts.max_tokens,
                                             parts.settings.compute_threads)};
}

void Decoder::forward(ConstBytes weights, ConstBytes input, std::span<std::byte> output, std::span<std::byte> saved,
                      std::span<std::byte> workspace, const BatchView& batch) {
  const c10::InferenceMode no_autograd;
  const int64_t tokens = parts_->token_count(batch);
  Carver carver(workspace);
  const BlockScratch scratch = parts_->block_scratch(tokens, carver);
  const SavedBuffers buffers = parts_->saved_buffers(saved, tokens, carver);
  parts_->run_attention(weights, input.data(), buffers, scratch, batch, carver, [&] {
    attention(parts_->shape.attention, batch, buffers.qkv, buffers.attended, buffers.logsumexp);
  });
  parts_->run_mlp(weights, buffers, scratch, tokens, output.data(), carver);
}

void Decoder::recompute(ConstBytes weights, ConstBytes input, std::span<std::byte> saved,
                        std::span<std::byte> workspace, const BatchView& batch) {
  const c10::InferenceMode no_autograd;
  const int64_t tokens = parts_->token_count(batch);
  Carver carver(workspace);
  const BlockScratch scratch = parts_->block_scratch(tokens, carver);
  const SavedBuffers buffers = parts_->saved_buffers(saved, tokens, carver);
  parts_->run_attention(weights, input.data(), buffers, scratch, batch, carver, [&] {
    attention(parts_->shape.attention, batch, buffers.qkv, buffers.attended, buffers.logsumexp);
  });
}

void set_compute_threads(int threads) {
  CHECK_GT(threads, 0);
  if (at::get_num_threads() != threads) at::set_num_threads(threads);
}

bool cpu_has_fast_bf16() { return __builtin_cpu_supports("avx512bf16") > 0; }

}  // namespace penstock
