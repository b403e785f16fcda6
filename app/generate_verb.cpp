#include "app/console.h"
#include "app/run_setup.h"
#include "app/verbs.h"

namespace penstock {

ExitCode run_generate(const VerbArguments& arguments) {
  const RunSetup setup = set_up_run(load_verb_config(arguments.config, arguments.overrides, DataNeed::kOptional));
  const std::string& prompt = setup.config.generation.prompt;
  refuse_paced(setup, "generate");
  require_promptable(setup);
  require_positions(setup, prompt);
  const RunPlan plan = sample_plan(setup, prompt);
  require_fit(setup, plan);
  ModelMemory memory(setup.model, setup.config.optimizer.state_format, plan.planner.buffers());
  load_trained_weights(setup, memory);
  print_result(prompt + continue_text(setup, memory, prompt));
  return ExitCode::kDone;
}

}  // namespace penstock
