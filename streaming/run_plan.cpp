#include "streaming/run_plan.h"

#include "core/check.h"
#include "model/layer_specs.h"

namespace penstock {
namespace {

StepBytes step_bytes(const RunShape& shape, const DecoderBytes& decoder) {
  StepBytes bytes;
  for (const LayerLayout& layout : layer_layouts(shape.model)) {
    LayerBytes layer;
    layer.wire = layout.slab_bytes(dtype_bytes(wire_dtype(shape.format)));
    layer.state = layout.slab_bytes(state_bytes_per_element(shape.format));
    layer.host_gradient = layout.slab_bytes(dtype_bytes(shape.gradient));
    layer.gradient_slot = layout.slab_bytes(sizeof(float));
    bytes.layers.push_back(layer);
  }
  bytes.layers.front().host_gradient = touched_rows_offset(shape) + static_cast<uint64_t>(shape.model.vocab_size);
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
  return {.wire = wire_dtype(shape.format),
          .compute = shape.compute,
          .rows = shape.rows,
          .length = shape.length,
          .compute_threads = shape.compute_threads};
}

uint64_t touched_rows_offset(const RunShape& shape) {
  const LayerLayout embedding = layer_layouts(shape.model).front();
  return align_up(embedding.slab_bytes(dtype_bytes(shape.gradient)), kTensorAlignment);
}

RunPlan plan_run(const RunShape& shape, StepSettings settings) {
  settings.block_count = static_cast<int>(shape.model.num_hidden_layers);
  settings.packs_gradients = shape.gradient != DType::kFloat32;
  const DecoderBytes decoder = Decoder(shape.model, decoder_settings(shape)).bytes();
  return {shape, decoder, StepPlanner(settings, step_bytes(shape, decoder))};
}

MemoryPlan memory_plan(const RunPlan& plan, uint64_t data_bytes) {
  return plan_memory(plan.planner.buffers(), static_cast<uint64_t>(parameter_count(plan.shape.model)),
                     plan.decoder.temporary, data_bytes);
}

}  // namespace penstock
