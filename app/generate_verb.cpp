#include "app/console.h"
#include "app/run_memory.h"
#include "app/sample_text.h"
#include "app/verbs.h"

namespace penstock {

ExitCode run_generate(const VerbArguments& arguments) {
  const RunSetup setup = set_up_run(load_verb_config(arguments.config, arguments.overrides, DataNeed::kOptional));
  refuse_paced(setup, "generate");
  require_promptable(setup);
  const Prompt prompt = encode_prompt(setup);
  require_positions(setup, prompt);
  const RunPlan plan = sample_plan(setup, prompt);
  require_fit(setup, plan);
  const std::unique_ptr<ModelMemory> memory = map_model_memory(setup, plan.shape, plan.planner.buffers());
  load_trained_weights(setup, *memory);
  print_result(setup.config.generation.prompt + continue_text(setup, *memory, prompt));
  return ExitCode::kDone;
}

}  // namespace penstock
