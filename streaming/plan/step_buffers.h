// The buffers of a run, and which of them a layer uses. The one place where slot numbers and buffer counts come from:
// the table is built from the same functions that the ops ask.
// Blocks are numbered 0..L-1 here, layers in need order (op.h).
#pragma once

#include "streaming/plan/step_planner.h"

namespace penstock {

int embedding_layer(const StepSettings& settings);        // whose wire weights hold the embedding: 0, or the head
bool trains(const StepSettings& settings, int layer);     // in need order, as in Op::layer
bool has_layer(const StepSettings& settings, int layer);  // false: layer 0 of a tied model
// The lowest block whose backward runs: everything below is frozen. block_count: none runs.
int first_backward_block(const StepSettings& settings);
// Something below the layer is trained: its op must hand on the gradient with respect to its input.
bool needs_input_gradient(const StepSettings& settings, int layer);
// The embedding's rows are added to what the head has put into the shared gradient.
bool shares_gradient(const StepSettings& settings);
int head_slot_count(const StepSettings& settings);  // 1, or 2 where the head comes in parts
int head_slot_of(const StepSettings& settings, int part);

int weight_slot_count(const StepSettings& settings);    // prefetch_depth + 1, never more than blocks
int gradient_slot_count(const StepSettings& settings);  // never more than trained blocks
int weight_slot_of(const StepSettings& settings, int block);
// Gradient slots and wire stagings are handed out in backward order: the last trained block takes slot 0.
int gradient_slot_of(const StepSettings& settings, int block);
// Index of kHostGradient. Eager blocks share a ring of one more than the gradient slots, so that an offload does not
// wait for the update before it; embedding and head keep their own in both modes.
int host_gradient_index(const StepSettings& settings, int layer);
// Index of kActivation for row `row` (0..L): training keeps the inputs of the blocks that have a backward, all others
// alternate two.
int activation_row(const StepSettings& settings, int row);
bool keeps(const StepSettings& settings, int block);  // its intermediates, for a backward that it has

BufferTable build_step_buffers(const StepSettings& settings, const StepBytes& bytes);

}  // namespace penstock
