#include "streaming/plan/generation_steps.h"

namespace penstock {
namespace {

void emit_next_tokens(OpEmitter& ops) {
  ops.fetch(ops.head());
  ops.logits();
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
