#include "streaming/plan/generation_steps.h"

namespace penstock {
namespace {

void emit_next_tokens(OpEmitter& ops) {
  const int parts = ops.settings().head_parts;
  for (int part = 0; part < parts; ++part) {
    const int of_head = parts == 1 ? OpEmitter::kWhole : part;
    ops.fetch(ops.head(), of_head);
    ops.logits(of_head);
  }
  ops.offload_logits();
  ops.sample();
}

}  // namespace

void emit_prefill_step(OpEmitter& ops) {
  ops.embed(0);
  ops.fetch_embed(0);
  for (int layer = 1; layer <= ops.settings().block_count; ++layer) {
    ops.fetch(layer);
    ops.prefill(layer);
  }
  emit_next_tokens(ops);
}

void emit_decode_step(OpEmitter& ops) {
  ops.embed(0);
  ops.fetch_embed(0);
  for (int layer = 1; layer <= ops.settings().block_count; ++layer) {
    ops.fetch(layer);
    ops.decode(layer);
  }
  emit_next_tokens(ops);
}

}  // namespace penstock
