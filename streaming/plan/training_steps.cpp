#include "streaming/plan/training_steps.h"

#include "streaming/plan/step_buffers.h"

namespace penstock {
namespace {

void emit_embedding(OpEmitter& ops) {
  for (int m = 0; m < ops.settings().micro_batches; ++m) ops.embed(m);
  for (int m = 0; m < ops.settings().micro_batches; ++m) ops.fetch_embed(m);
}

// A layer with a pending update comes in pieces: the fetch of one goes on while the next is updated.
void emit_update_and_fetch(OpEmitter& ops, int layer, bool pending) {
  if (!pending) return ops.fetch(layer);
  const std::vector<int> pieces = ops.pieces(layer);
  if (pieces.size() == 1) {
    ops.update(layer);
    return ops.fetch(layer);
  }
  for (const int piece : pieces) {
    ops.update(layer, piece);
    ops.fetch_piece(layer, piece);
  }
}

// Layer-major: every micro-batch visits a block before any visits the next.
void emit_blocks_forward(OpEmitter& ops, bool pending) {
  for (int layer = 1; layer <= ops.settings().block_count; ++layer) {
    emit_update_and_fetch(ops, layer, pending && trains(ops.settings(), layer));
    for (int m = 0; m < ops.settings().micro_batches; ++m) ops.forward(layer, m);
  }
}

// The head's update where it did not come first, and its fetch where it comes whole. A tied head has its hot rows
// updated already. An embedding of its own has the rest of its rows updated last: nothing of this step reads them.
void emit_head_weights(OpEmitter& ops, bool pending) {
  const StepSettings& settings = ops.settings();
  const bool splits_rows = pending && ops.pieces(embedding_layer(settings)).front() == kHotRows;
  const bool is_whole = settings.head_parts == 1;
  if (settings.tied_head) {
    if (splits_rows) ops.update(ops.head(), kColdRows);
    if (is_whole) ops.fetch(ops.head());
    return;
  }
  const bool updates = pending && trains(settings, ops.head());
  if (is_whole) {
    emit_update_and_fetch(ops, ops.head(), updates);
  } else if (updates) {
    ops.update(ops.head());
  }
  if (splits_rows) ops.update(0, kColdRows);
}

// Up to the loss; a whole head also makes its gradients here.
void emit_head_forward(OpEmitter& ops, bool pending) {
  const StepSettings& settings = ops.settings();
  emit_head_weights(ops, pending);
  if (settings.head_parts == 1) {
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

// Updates come in need order: first the rows of the embedding that this step's tokens name, even where the head owns
// it.
void emit_training_step(OpEmitter& ops, bool pending) {
  const StepSettings& settings = ops.settings();
  const int embedding = embedding_layer(settings);
  if (pending && trains(settings, embedding)) ops.update(embedding, ops.pieces(embedding).front());
  emit_embedding(ops);
  emit_blocks_forward(ops, pending);
  emit_head_forward(ops, pending);
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
  emit_head_forward(ops, false);
  ops.report();
}

}  // namespace penstock
