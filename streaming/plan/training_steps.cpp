#include "streaming/plan/training_steps.h"

#include "streaming/plan/step_buffers.h"

namespace penstock {
namespace {

void emit_embedding(OpEmitter& ops) {
  for (int m = 0; m < ops.settings().micro_batches; ++m) ops.embed(m);
  for (int m = 0; m < ops.settings().micro_batches; ++m) ops.fetch_embed(m);
}

// Layer-major: every micro-batch visits a block before any visits the next.
void emit_blocks_forward(OpEmitter& ops, bool pending) {
  for (int layer = 1; layer <= ops.settings().block_count; ++layer) {
    if (pending && trains(ops.settings(), layer)) ops.update(layer);
    ops.fetch(layer);
    for (int m = 0; m < ops.settings().micro_batches; ++m) ops.forward(layer, m);
  }
}

// Up to the loss; a whole head also makes its gradients here.
void emit_head_forward(OpEmitter& ops) {
  const StepSettings& settings = ops.settings();
  if (settings.head_parts == 1) {
    ops.fetch(ops.head());
    for (int m = 0; m < settings.micro_batches; ++m) ops.loss(m);
  } else {
    for (int part = 0; part < settings.head_parts; ++part) {
      ops.fetch(ops.head(), part);
      for (int m = 0; m < settings.micro_batches; ++m) ops.head_statistics(part, m);
    }
  }
  ops.offload_loss();
}

// A layer's gradient is whole on the host: into the norm; eager: used at once.
void emit_use_of_gradient(OpEmitter& ops, int layer) {
  ops.norm(layer);
  if (ops.settings().update == UpdateMode::kEager) ops.update(layer);
}

// A layer's gradient, or a part of it, is complete in its slot: cast, to the host.
void emit_offload(OpEmitter& ops, int layer, int part = OpEmitter::kWhole) {
  if (!trains(ops.settings(), layer)) return;
  if (ops.settings().packs_gradients) ops.pack(layer, part);
  ops.offload(layer, part);
}

// Turn-around: the last parts of the first pass are still in their slots when the second comes back.
void emit_head_second_pass(OpEmitter& ops) {
  const StepSettings& settings = ops.settings();
  for (int part = settings.head_parts - 1; part >= 0; --part) {
    if (part < settings.head_parts - head_slot_count(settings)) ops.fetch(ops.head(), part);
    for (int m = 0; m < settings.micro_batches; ++m) ops.head_gradient(part, m);
    emit_offload(ops, ops.head(), part);
  }
}

void emit_head_backward(OpEmitter& ops) {
  const StepSettings& settings = ops.settings();
  if (settings.head_parts > 1) {
    emit_head_second_pass(ops);
  } else {
    emit_offload(ops, ops.head());
  }
  // A shared gradient still lacks the embedding's rows.
  if (trains(settings, ops.head()) && !shares_gradient(settings)) emit_use_of_gradient(ops, ops.head());
}

void emit_blocks_backward(OpEmitter& ops) {
  const StepSettings& settings = ops.settings();
  const int first_in_slot = settings.block_count - weight_slot_count(settings);  // turn-around: these are still there
  for (int block = settings.block_count - 1; block >= first_backward_block(settings); --block) {
    if (block < first_in_slot) ops.fetch(block + 1);
    for (int m = 0; m < settings.micro_batches; ++m) ops.backward(block + 1, m);
    emit_offload(ops, block + 1);
    if (trains(settings, block + 1)) emit_use_of_gradient(ops, block + 1);
  }
}

void emit_embedding_gradient(OpEmitter& ops) {
  if (!ops.settings().trains_embedding) return;
  for (int m = 0; m < ops.settings().micro_batches; ++m) ops.offload_embed(m);
  ops.scatter_embed();
  emit_use_of_gradient(ops, embedding_layer(ops.settings()));
}

}  // namespace

// Updates come in need order: the embedding's first, even where the head owns it.
void emit_training_step(OpEmitter& ops, bool pending) {
  const StepSettings& settings = ops.settings();
  const bool updates_first = pending && trains(settings, embedding_layer(settings));
  if (updates_first) ops.update(embedding_layer(settings));
  emit_embedding(ops);
  emit_blocks_forward(ops, pending);
  if (pending && trains(settings, ops.head()) && !settings.tied_head) ops.update(ops.head());
  emit_head_forward(ops);
  emit_head_backward(ops);
  emit_blocks_backward(ops);
  emit_embedding_gradient(ops);
  ops.decide();
}

void emit_drain_step(OpEmitter& ops) {
  for (int layer = 0; layer <= ops.head(); ++layer) {
    if (trains(ops.settings(), layer)) ops.update(layer);
  }
}

void emit_evaluation_step(OpEmitter& ops) {
  emit_embedding(ops);
  emit_blocks_forward(ops, false);
  emit_head_forward(ops);
  ops.report();
}

}  // namespace penstock
