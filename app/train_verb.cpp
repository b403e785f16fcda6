#include "app/run_setup.h"
#include "app/signals.h"
#include "app/training_run.h"
#include "app/verbs.h"

namespace penstock {

ExitCode run_train(const VerbArguments& arguments) {
  const RunConfig config = load_verb_config(arguments.config, arguments.overrides, DataNeed::kRequired);
  TrainingRun run(config, arguments.config, arguments.program);
  watch_stop_signals();
  return run.run();
}

}  // namespace penstock
