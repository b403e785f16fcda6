// The order of ops in training and evaluation steps (DESIGN.md section 2), in need order so that a person can follow
// it. List order across lanes costs nothing: a lane runs ahead as far as its waits let it.
#pragma once

#include "streaming/plan/op_emitter.h"

namespace penstock {

// `pending`: a decided update of the step before waits to be applied (deferred mode only).
void emit_training_step(OpEmitter& ops, bool pending);
void emit_drain_step(OpEmitter& ops);
void emit_evaluation_step(OpEmitter& ops);

}  // namespace penstock
