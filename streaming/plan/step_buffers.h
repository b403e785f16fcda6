// The buffers of a run, and which of them a layer uses. The one place where slot numbers and buffer counts come from:
// the table is built from the same functions that the ops ask.
// Blocks are numbered 0..L-1 here, layers in need order (op.h).
#pragma once

#include "streaming/plan/step_planner.h"

namespace penstock {

int weight_slot_count(const StepSettings& settings);    // prefetch_depth + 1, never more than blocks
int gradient_slot_count(const StepSettings& settings);  // never more than blocks
int weight_slot_of(const StepSettings& settings, int block);
// Gradient slots and wire stagings are handed out in backward order: the last block takes slot 0.
int gradient_slot_of(const StepSettings& settings, int block);
// Index of kHostGradient. Eager blocks share a ring of one more than the gradient slots, so that an offload does not
// wait for the update before it; embedding and head keep their own in both modes.
int host_gradient_index(const StepSettings& settings, int layer);
// Index of kActivation for row `row` (0..L): training keeps every row for backward, forward-only tables alternate two.
int activation_row(const StepSettings& settings, int row);
bool keeps(const StepSettings& settings, int block);

BufferTable build_step_buffers(const StepSettings& settings, const StepBytes& bytes);

}  // namespace penstock
