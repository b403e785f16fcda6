#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "app/console.h"
#include "app/evaluation.h"
#include "app/model_setup.h"
#include "app/run_memory.h"
#include "app/verbs.h"

namespace penstock {
namespace {

void print_evaluation(const EvaluationResult& result, bool json) {
  if (json) {
    nlohmann::json object = {{"loss", result.loss},
                             {"perplexity", result.perplexity},
                             {"bits_per_byte", nullptr},
                             {"trained_tokens", result.trained_tokens}};
    if (result.bits_per_byte > 0) object["bits_per_byte"] = result.bits_per_byte;
    print_result(object.dump());
    return;
  }
  print_result(fmt::format("loss {:.5f}  perplexity {:.4f}  {}trained tokens {}", result.loss, result.perplexity,
                           result.bits_per_byte > 0 ? fmt::format("bits per byte {:.4f}  ", result.bits_per_byte) : "",
                           result.trained_tokens));
}

}  // namespace

ExitCode run_eval(const VerbArguments& arguments) {
  const RunSetup setup = set_up_run(load_verb_config(arguments.config, arguments.overrides, DataNeed::kRequired));
  refuse_paced(setup, "eval");
  require_row_positions(setup);
  const RunPlan plan = plan_run(training_shape(setup), step_settings(setup, Purpose::kEval));
  require_fit(setup, plan);
  const Dataset dataset(dataset_options(setup));
  if (dataset.validation().documents->empty()) {
    throw Error(ExitCode::kBadInput, "nothing to evaluate on: set dataset.val_size or dataset.eval_path");
  }
  const std::unique_ptr<ModelMemory> memory = map_model_memory(setup, plan.shape, plan.planner.buffers());
  load_trained_weights(setup, *memory);
  const std::unique_ptr<Device> device = make_device(setup, plan);
  StepEngine engine(plan, *memory, *device, engine_options(setup));
  const EvaluationResult result =
      evaluate_documents(dataset.validation(), dataset_options(setup), setup.config.training.max_eval_tokens,
                         [&](std::span<const MicroBatch> batches) { return evaluate(engine, batches); });
  if (!std::isfinite(result.loss)) {
    throw Error(ExitCode::kNumericStop, fmt::format("eval: the loss over {} trained tokens is not finite; the weights "
                                                    "have diverged, use an earlier checkpoint",
                                                    result.trained_tokens));
  }
  print_evaluation(result, arguments.json);
  return ExitCode::kDone;
}

}  // namespace penstock
