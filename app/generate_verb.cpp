#include "app/console.h"
#include "app/run_setup.h"
#include "app/verbs.h"
#include "data/byte_tokenizer.h"

namespace penstock {

ExitCode run_generate(const VerbArguments& arguments) {
  const RunSetup setup = set_up_run(load_verb_config(arguments.config, arguments.overrides));
  if (setup.model.vocab_size < kByteVocabularySize) {
    throw Error(ExitCode::kBadInput, "generate: the model's vocabulary of " + std::to_string(setup.model.vocab_size) +
                                         " is smaller than the byte tokenizer's; only byte models can be prompted yet");
  }
  const RunPlan plan = plan_run(training_shape(setup), step_settings(setup, Purpose::kEval));
  require_fit(setup, plan);
  ModelMemory memory(setup.model, setup.config.optimizer.state_format, plan.planner.buffers());
  load_trained_weights(setup, memory);
  const std::string& prompt = setup.config.generation.prompt;
  print_result(prompt + continue_text(setup, memory, prompt));
  return ExitCode::kDone;
}

}  // namespace penstock
