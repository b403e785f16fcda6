// The host lane's work: update, embed, scatter, norm, decide, report.
#pragma once

#include "core/worker_team.h"
#include "streaming/op_context.h"
#include "streaming/run_plan.h"
#include "streaming/step_inputs.h"

namespace penstock {

// Registers handlers that use these objects; they must outlive `handlers`. `inputs` is read when an op runs.
void add_host_handlers(OpHandlers& handlers, const RunShape& shape, ModelMemory& memory, WorkerTeam& team,
                       const StepInputs& inputs);

// Sum over micro-batches of the negative log-likelihood, as the last step's report or decision saw it.
double loss_sum(std::span<const std::byte> host_loss, size_t micro_batches);

}  // namespace penstock
