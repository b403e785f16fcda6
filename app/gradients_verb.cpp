#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "app/console.h"
#include "app/model_setup.h"
#include "app/run_memory.h"
#include "app/run_setup.h"
#include "app/verbs.h"
#include "data/training_stream.h"
#include "streaming/model_weights.h"

namespace penstock {

ExitCode run_gradients(const VerbArguments& arguments, const std::string& out) {
  const RunSetup setup = set_up_run(load_verb_config(arguments.config, arguments.overrides, DataNeed::kRequired));
  refuse_paced(setup, "gradients");
  require_row_positions(setup);
  RunShape shape = training_shape(setup);
  shape.gradient = DType::kFloat32;  // no wire cast
  StepSettings settings = step_settings(setup, Purpose::kTrain);
  settings.update = UpdateMode::kDeferred;  // every layer keeps its gradient
  const RunPlan plan = plan_run(shape, settings);
  require_fit(setup, plan);
  const Dataset dataset(dataset_options(setup));
  const std::unique_ptr<ModelMemory> memory = map_model_memory(setup, shape, plan.planner.buffers());
  if (starts_from_scratch(setup) && setup.config.training.resume_from_checkpoint.empty()) {
    WorkerTeam team(team_options(setup));
    initialize_weights(*memory, static_cast<uint64_t>(setup.config.training.seed), team);
  } else {
    load_trained_weights(setup, *memory);
  }
  const std::unique_ptr<Device> device = make_device(setup, plan);
  StepEngine engine(plan, *memory, *device, engine_options(setup));
  Trainer trainer(engine, {.max_grad_norm = 0});  // the update stays pending, so its settings do not count
  const StepReport report = trainer.step(TrainingStream(dataset.training(), dataset_options(setup)).next());
  if (report.trained_tokens == 0) {
    throw Error(ExitCode::kBadInput, "the first step has no trained tokens; check labels");
  }
  if (report.skipped) {
    throw Error(ExitCode::kNumericStop, fmt::format("gradients: the first step is not finite (loss {}, gradient norm "
                                                    "{}); nothing is written",
                                                    report.loss, report.gradient_norm));
  }
  write_gradients(engine, out);
  if (arguments.json) {
    const nlohmann::json object = {{"loss", report.loss},
                                   {"gradient_norm", report.gradient_norm},
                                   {"trained_tokens", report.trained_tokens},
                                   {"file", out}};
    print_result(object.dump());
  } else {
    print_result(fmt::format("loss {:.9g}  gradient norm {:.9g}  trained tokens {}  written to {}", report.loss,
                             report.gradient_norm, report.trained_tokens, out));
  }
  return ExitCode::kDone;
}

}  // namespace penstock
