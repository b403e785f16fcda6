#include "app/run_memory.h"

#include <spdlog/spdlog.h>

#include "app/load_progress.h"

namespace penstock {

WorkerTeamOptions team_options(const RunSetup& setup) {
  return {.thread_count = setup.optimizer_threads, .cpus = setup.optimizer_cpus};
}

ArenaOptions arena_options(const RunSetup& setup) {
  return {.huge_pages = setup.config.memory.huge_pages,
          .node = setup.memory_node,
          .notice = [](const std::string& text) { spdlog::warn(text); }};
}

std::unique_ptr<ModelMemory> map_model_memory(const RunSetup& setup, const RunShape& shape,
                                              const BufferTable& buffers) {
  auto memory = std::make_unique<ModelMemory>(shape, buffers, arena_options(setup));
  TouchOptions touch = touch_shown_on(error_console());
  touch.available = [root = setup.system_root] { return read_host_memory(root); };
  WorkerTeam team(team_options(setup));
  try {
    memory->touch(team, touch);
  } catch (...) {
    error_console().show_live("");  // the error's line is the last one
    throw;
  }
  return memory;
}

}  // namespace penstock
