#include "streaming/plan/training_steps.h"

#include "streaming/plan/step_buffers.h"

namespace penstock {
namespace {

void emit_embedding(OpEmitter& ops) {
  for (int m = 0; m < ops.settings().micro_batches; ++m) ops.embed(m);
  for (int m = 0; m < ops.settings().micro_batches; ++m) ops.fetch_embed(m);
}

// Layer-major: every micro-batch visits a block before any visits the next.
void emit_forward(OpEmitter& ops, bool pending) {
  for (int layer = 1; layer <= ops.settings().block_count; ++layer) {
    if (pending) ops.update(layer);
    ops.fetch(layer);
    for (int m = 0; m < ops.settings().micro_batches; ++m) ops.forward(layer, m);
  }
  if (pending) ops.update(ops.head());
  ops.fetch(ops.head());
  for (int m = 0; m < ops.settings().micro_batches; ++m) ops.loss(m);
  ops.offload_loss();
}

// A layer's gradient is complete in its slot: cast, to the host, into the norm; eager: used at once.
void emit_gradient(OpEmitter& ops, int layer) {
  if (ops.settings().packs_gradients) ops.pack(layer);
  ops.offload(layer);
  ops.norm(layer);
  if (ops.settings().update == UpdateMode::kEager) ops.update(layer);
}

void emit_backward(OpEmitter& ops) {
  const StepSettings& settings = ops.settings();
  emit_gradient(ops, ops.head());
  const int first_in_slot = settings.block_count - weight_slot_count(settings);  // turn-around: these are still there
  for (int block = settings.block_count - 1; block >= 0; --block) {
    if (block < first_in_slot) ops.fetch(block + 1);
    for (int m = 0; m < settings.micro_batches; ++m) ops.backward(block + 1, m);
    emit_gradient(ops, block + 1);
  }
}

void emit_embedding_gradient(OpEmitter& ops) {
  for (int m = 0; m < ops.settings().micro_batches; ++m) ops.offload_embed(m);
  ops.scatter_embed();
  ops.norm(0);
  if (ops.settings().update == UpdateMode::kEager) ops.update(0);
}

}  // namespace

void emit_training_step(OpEmitter& ops, bool pending) {
  if (pending) ops.update(0);
  emit_embedding(ops);
  emit_forward(ops, pending);
  emit_backward(ops);
  emit_embedding_gradient(ops);
  ops.decide();
}

void emit_drain_step(OpEmitter& ops) {
  for (int layer = 0; layer <= ops.head(); ++layer) ops.update(layer);
}

void emit_evaluation_step(OpEmitter& ops) {
  emit_embedding(ops);
  emit_forward(ops, false);
  ops.report();
}

}  // namespace penstock
