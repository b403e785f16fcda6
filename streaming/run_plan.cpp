#include "streaming/run_plan.h"

#include <algorithm>

#include "core/check.h"
#include "model/layer_specs.h"

namespace penstock {
namespace {

constexpr uint64_t kHeadStatisticsPerToken = 3;  // maximum, sum of exponentials, the target's logit

LayerBytes layer_bytes(const RunShape& shape, const LayerLayout& layout) {
  return {.wire = layout.slab_bytes(dtype_bytes(wire_dtype(shape.format))),
          .state = state_bytes(shape.format, layout.trainable_elements()),
          .host_gradient = layout.trainable_bytes(dtype_bytes(shape.gradient)),
          .gradient_slot = layout.trainable_bytes(sizeof(float))};
}

// A slot must hold any part.
LayerBytes largest_head_part(const RunShape& shape) {
  LayerBytes largest;
  for (const LayerLayout& layout : head_part_layouts(shape)) {
    const LayerBytes part = layer_bytes(shape, layout);
    largest.wire = std::max(largest.wire, part.wire);
    largest.host_gradient = std::max(largest.host_gradient, part.host_gradient);
    largest.gradient_slot = std::max(largest.gradient_slot, part.gradient_slot);
  }
  return largest;
}

// Where deferred updates may be cut: every layer by pieces, the embedding's owner by the rows that a step's tokens
// name.
void cut_wire(const RunShape& shape, const StepSettings& settings, const std::vector<LayerLayout>& layouts,
              StepBytes& bytes) {
  const uint64_t width = dtype_bytes(wire_dtype(shape.format));
  for (size_t layer = 0; layer < layouts.size(); ++layer) {
    for (const UpdatePiece& piece : update_pieces(layouts[layer], width, shape.update_piece_bytes)) {
      bytes.layers[layer].wire_pieces.push_back((piece.end_element - piece.first_element) * width);
    }
  }
  const int64_t tokens = shape.rows * shape.length * settings.micro_batches;
  const auto rows = static_cast<uint64_t>(std::min(tokens, shape.model.vocab_size));
  LayerBytes& owner = settings.tied_head ? bytes.layers.back() : bytes.layers.front();
  owner.hot_rows = rows * static_cast<uint64_t>(shape.model.hidden_size) * width;
}

StepBytes step_bytes(const RunShape& shape, const StepSettings& settings, const std::vector<LayerLayout>& layouts,
                     const DecoderBytes& decoder) {
  StepBytes bytes;
  for (const LayerLayout& layout : layouts) bytes.layers.push_back(layer_bytes(shape, layout));
  cut_wire(shape, settings, layouts, bytes);
  if (layouts.front().trains()) {
    bytes.layers.front().host_gradient = touched_rows_offset(shape) + static_cast<uint64_t>(shape.model.vocab_size);
  }
  bytes.head_part = largest_head_part(shape);
  const auto tokens = static_cast<uint64_t>(shape.rows * shape.length);
  bytes.head_statistics = kHeadStatisticsPerToken * tokens * sizeof(float);
  bytes.head_input_gradient = tokens * static_cast<uint64_t>(shape.model.hidden_size) * sizeof(float);
  bytes.batch_table = batch_table(shape).bytes();
  bytes.activation = decoder.activation;
  bytes.saved = decoder.saved;
  bytes.workspace = decoder.workspace;
  if (shape.kv_capacity > 0) {
    bytes.kv_cache = Decoder::kv_cache_bytes(shape.model, shape.compute, shape.rows, shape.kv_capacity);
    bytes.logits =
        checked_multiply(static_cast<uint64_t>(shape.rows * shape.model.vocab_size), sizeof(float), "logits");
    bytes.tokens = static_cast<uint64_t>(shape.rows) * sizeof(int32_t);
  }
  return bytes;
}

}  // namespace

DecoderSettings decoder_settings(const RunShape& shape) {
  return {.backend = shape.backend,
          .wire = wire_dtype(shape.format),
          .compute = shape.compute,
          .rows = shape.rows,
          .length = shape.length,
          .compute_threads = shape.compute_threads,
          .trainable = shape.trainable,
          .head_parts = shape.head_parts,
          .deterministic = shape.deterministic};
}

uint64_t touched_rows_offset(const RunShape& shape) {
  const LayerLayout embedding = layer_layouts(shape.model, shape.trainable).front();
  return align_up(embedding.trainable_bytes(dtype_bytes(shape.gradient)), kTensorAlignment);
}

std::vector<LayerLayout> head_part_layouts(const RunShape& shape) {
  std::vector<LayerLayout> layouts;
  for (int part = 0; part < shape.head_parts; ++part) {
    layouts.push_back(head_part_layout(shape.model, shape.trainable, shape.head_parts, part));
  }
  return layouts;
}

RunPlan plan_run(const RunShape& shape, StepSettings settings) {
  settings.block_count = static_cast<int>(shape.model.num_hidden_layers);
  settings.packs_gradients = shape.gradient != DType::kFloat32;
  settings.head_parts = shape.head_parts;
  settings.tied_head = shape.model.tie_word_embeddings;
  const std::vector<LayerLayout> layouts = layer_layouts(shape.model, shape.trainable);
  settings.trained_layers.clear();
  for (const LayerLayout& layout : layouts) settings.trained_layers.push_back(layout.trains() ? 1 : 0);
  settings.trains_embedding = embedding_place(layouts).spec.trainable;
  const DecoderBytes decoder = decoder_bytes(shape.model, decoder_settings(shape));
  return {shape, decoder, StepPlanner(settings, step_bytes(shape, settings, layouts, decoder))};
}

BatchTable batch_table(const RunShape& shape) { return BatchTable(shape.rows * shape.length); }

MemoryPlan memory_plan(const RunPlan& plan, uint64_t data_bytes) {
  return plan_memory(plan.planner.buffers(), static_cast<uint64_t>(parameter_count(plan.shape.model)),
                     plan.decoder.temporary, data_bytes);
}

}  // namespace penstock
