// The device lanes' work of training and evaluation: copies, forward, loss, backward, pack.
#pragma once

#include "model/decoder.h"
#include "streaming/op_context.h"
#include "streaming/plan/cost_model.h"
#include "streaming/run_plan.h"
#include "streaming/step_inputs.h"

namespace penstock {

// Issues `work` on the op's lane, inside Maths::run().
void launch_compute(OpContext& context, Maths& maths, std::function<void()> work);

// FetchEmbed: staging into the first activation and the batch table.
void fetch_embed(OpContext& context);
// `batch` with its device arrays in the table that the op reads.
BatchView on_device(const RunShape& shape, const OpContext& context, const BatchView& batch);

// The layout of what is in the op's weight and gradient slots: a layer's, or that of a part of the head.
const LayerLayout& slot_layout(const ModelMemory& memory, const std::vector<LayerLayout>& head_parts,
                               const OpContext& context);

struct DeviceWork {
  RunShape shape;
  const ModelMemory* memory = nullptr;
  const std::vector<LayerLayout>* head_parts = nullptr;
  Decoder* decoder = nullptr;
  Maths* maths = nullptr;
  const StepInputs* inputs = nullptr;
  const CostModel* pace = nullptr;  // not null: compute ops sleep for their modelled duration instead of computing
};

// Registers handlers over what `work` points to, which must outlive `handlers`.
void add_device_handlers(OpHandlers& handlers, const DeviceWork& work);

}  // namespace penstock
