// The host memory of a run: mapped as the configuration says, and touched by the team before anything is read into it.
// What fits has been decided before (run_setup.h's require_fit); here the system may still change its mind.
#pragma once

#include <memory>

#include "app/run_setup.h"
#include "core/arena.h"
#include "core/worker_team.h"

namespace penstock {

// A team like the host lane's, for work before the first step. Refused bindings pass in silence: the engine's own team
// reports them, once.
WorkerTeamOptions team_options(const RunSetup& setup);
// Refused wishes are warnings.
ArenaOptions arena_options(const RunSetup& setup);

// What `buffers` names of the model's memory, in place. Shows progress on a terminal. Throws Error(kDoesNotFit).
std::unique_ptr<ModelMemory> map_model_memory(const RunSetup& setup, const RunShape& shape, const BufferTable& buffers);

}  // namespace penstock
