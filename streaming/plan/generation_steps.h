// The order of ops in generation: prefill runs whole prompts, decode one token a row. Both end with the next tokens.
#pragma once

#include "streaming/plan/op_emitter.h"

namespace penstock {

void emit_prefill_step(OpEmitter& ops);
void emit_decode_step(OpEmitter& ops);

}  // namespace penstock
