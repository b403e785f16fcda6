#include "model/decoder_parts.h"

#include <algorithm>

#include "fmt/format.h"

namespace penstock {

namespace {

std::vector<std::string> prefixed(const std::string& prefix, std::vector<std::string> names) {
  for (std::string& name : names) name.insert(0, prefix);
  return names;
}

std::string block_prefix(int64_t block) { return fmt::format("model.layers.{}.", block); }

TensorPlace head_norm_place(const ModelConfig& config, const LayerLayout& layout, const std::string& name) {
  return config.qk_norm ? layout.tensor(name)
                        : TensorPlace{.spec = {.trainable = false}, .offset = 0, .element_count = 0};
}

// The linear layer of these tensors.
Projection projection(const LayerLayout& layout, const std::vector<std::string>& names, bool has_bias,
                      const DecoderSettings& settings) {
  return {layout,           names,
          has_bias,         settings.wire,
          settings.compute, weight_gradient_type(settings.backend, settings.compute)};
}

}  // namespace

BlockWeights::BlockWeights(const ModelConfig& config, const LayerLayout& layout, int64_t block,
                           const DecoderSettings& settings)
    : input_norm(layout.tensor(block_prefix(block) + "input_layernorm.weight")),
      post_norm(layout.tensor(block_prefix(block) + "post_attention_layernorm.weight")),
      query_norm(head_norm_place(config, layout, block_prefix(block) + "self_attn.q_norm.weight")),
      key_norm(head_norm_place(config, layout, block_prefix(block) + "self_attn.k_norm.weight")),
      qkv(projection(layout, prefixed(block_prefix(block) + "self_attn.", {"q_proj", "k_proj", "v_proj"}),
                     config.qkv_bias, settings)),
      attention_out(projection(layout, {block_prefix(block) + "self_attn.o_proj"}, config.output_bias, settings)),
      gate_up(projection(layout, prefixed(block_prefix(block) + "mlp.", {"gate_proj", "up_proj"}), config.mlp_bias,
                         settings)),
      down(projection(layout, {block_prefix(block) + "mlp.down_proj"}, config.mlp_bias, settings)),
      trainable_elements(layout.trainable_elements()) {}

bool BlockWeights::reaches_qkv(bool wants_input) const {
  return wants_input || input_norm.spec.trainable || qkv.trains() || query_norm.spec.trainable ||
         key_norm.spec.trainable;
}

bool BlockWeights::reaches_gate_up(bool wants_input) const {
  return reaches_residual(wants_input) || post_norm.spec.trainable || gate_up.trains();
}

DecoderParts::DecoderParts(const ModelConfig& model_config, const DecoderSettings& decoder_settings,
                           Maths* maths_of_device)
    : config(model_config),
      settings(decoder_settings),
      device_maths(maths_of_device),
      max_tokens(decoder_settings.rows * decoder_settings.length),
      frequencies(rope_frequencies(model_config)) {
  CHECK(settings.compute != DType::kFloat16 && settings.wire != DType::kFloat16);
  CHECK_GT(max_tokens, 0);
  CHECK_GT(settings.loss_chunk_tokens, 0);
  const AttentionShape attention{settings.compute, config.num_attention_heads, config.num_key_value_heads,
                                 config.head_dim};
  shape = {settings.backend, settings.compute, config.hidden_size, config.intermediate_size, 0,
           attention,        config.qk_norm};

  const std::vector<LayerLayout> layouts = layer_layouts(config, settings.trainable);
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    const BlockWeights& weights = blocks.emplace_back(config, layouts[static_cast<size_t>(i) + 1], i, settings);
    for (const Projection* projection : {&weights.qkv, &weights.attention_out, &weights.gate_up, &weights.down}) {
      block_bytes.weight =
          std::max({block_bytes.weight, projection->operand_scratch(), projection->gradient_scratch()});
      block_bytes.bias = std::max(block_bytes.bias, projection->bias_scratch());
    }
  }
  for (int part = 0; part < settings.head_parts; ++part) {
    const LayerLayout layout = head_part_layout(config, settings.trainable, settings.head_parts, part);
    const HeadWeights& weights = heads.emplace_back(
        HeadWeights{head_part_rows(config.vocab_size, settings.head_parts, part), layout.tensor("model.norm.weight"),
                    FusedWeight(layout, {head_weight_name(config)}, settings.wire, settings.compute,
                                weight_gradient_type(settings.backend, settings.compute)),
                    layout.trainable_elements()});
    shape.vocab = std::max(shape.vocab, weights.rows.count());
    head_operand_bytes = std::max(head_operand_bytes, weights.lm_head.operand_scratch());
    head_gradient_bytes = std::max(head_gradient_bytes, weights.lm_head.gradient_scratch());
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
  maths().cast(settings.wire, weights.data() + place.offset * wire_bytes, DType::kFloat32, scratch,
               static_cast<int64_t>(place.element_count));
}

BlockScratch DecoderParts::block_scratch(int64_t tokens, Carver& carver) const {
  return carve_block(shape, tokens, block_bytes, carver);
}

// Into `saved` where the caller keeps the intermediates, else into the workspace.
SavedBuffers DecoderParts::saved_buffers(std::span<std::byte> saved, int64_t tokens, Carver& workspace) const {
  if (saved.empty()) return carve_saved(shape, tokens, workspace);
  Carver carver(saved);
  return carve_saved(shape, tokens, carver);
}

LossScratch DecoderParts::loss_scratch(int64_t tokens, Carver& carver) const {
  return carve_loss(shape, loss_chunk(tokens), head_operand_bytes, head_gradient_bytes, carver);
}

const BlockWeights& DecoderParts::block(int64_t index) const {
  CHECK_GE(index, 0);
  CHECK_LT(index, static_cast<int64_t>(blocks.size()));
  return blocks[static_cast<size_t>(index)];
}

const HeadWeights& DecoderParts::head(int part) const {
  CHECK_GE(part, 0);
  CHECK_LT(part, static_cast<int>(heads.size()));
  return heads[static_cast<size_t>(part)];
}

AttentionShape DecoderParts::attention_shape(int64_t block) const {
  AttentionShape attention = shape.attention;
  attention.window = config.window(block);
  return attention;
}

HeadNormShape DecoderParts::head_norm_shape(int64_t tokens) const {
  const AttentionShape& heads_shape = shape.attention;
  return {tokens, heads_shape.packed_width(), heads_shape.query_heads, heads_shape.kv_heads, heads_shape.head_dim};
}

RopeRows DecoderParts::rope_rows(int64_t tokens, void* qkv, const RopeAngles& angles, bool backward) const {
  const AttentionShape& heads_shape = shape.attention;
  return {tokens, heads_shape.packed_width(), shape.normed_heads(), heads_shape.head_dim, qkv, angles, backward};
}

}  // namespace penstock
