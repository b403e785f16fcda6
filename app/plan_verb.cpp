#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>

#include "app/console.h"
#include "app/model_setup.h"
#include "app/predicted_step.h"
#include "app/run_setup.h"
#include "app/verbs.h"

namespace penstock {
namespace {

nlohmann::json classes(const std::vector<MemoryClass>& list) {
  nlohmann::json object = nlohmann::json::object();
  for (const MemoryClass& entry : list) object[entry.name] = entry.bytes;
  return object;
}

// A plan may be asked for before the data is there.
uint64_t known_data_bytes(const RunSetup& setup) {
  try {
    return data_file_bytes(setup);
  } catch (const Error& error) {
    spdlog::warn("the plan leaves the data out: {}", error.what());
    return 0;
  }
}

nlohmann::json plan_json(const MemoryPlan& memory, const std::optional<PredictedStep>& step) {
  nlohmann::json object = {{"parameters", memory.parameter_count},  {"host", classes(memory.host)},
                           {"device", classes(memory.device)},      {"host_bytes", memory.host_bytes()},
                           {"device_bytes", memory.device_bytes()}, {"prediction", nullptr}};
  if (step) object["prediction"] = to_json(*step);
  return object;
}

void print_schedule(const RunPlan& plan) {
  const bool deferred = plan.planner.settings().update == UpdateMode::kDeferred;
  print_result(dump_schedule(plan.planner.plan(deferred ? StepVariant::kTrainPending : StepVariant::kTrain)));
}

}  // namespace

ExitCode run_plan(const VerbArguments& arguments, bool schedule) {
  const RunSetup setup =
      set_up_run(load_verb_config(arguments.config, arguments.overrides, DataNeed::kOptional), CudaLook::kLook);
  require_row_positions(setup);
  const RunPlan plan = plan_run(training_shape(setup), step_settings(setup, Purpose::kTrain));
  const uint64_t data_bytes = known_data_bytes(setup);
  const MemoryPlan memory = memory_plan(plan, data_bytes);
  if (schedule) {
    print_schedule(plan);
  } else {
    std::optional<PredictedStep> step;
    if (setup.profile) step = predict_step(setup, plan, *setup.profile);
    if (arguments.json) {
      print_result(plan_json(memory, step).dump());
    } else {
      print_result(format_memory_plan(memory));
      print_result(
          step ? format_prediction(*step)
               : "no prediction: penstock probe measures this machine once, and plan then tells the step's time");
    }
  }
  require_fit(setup, plan, data_bytes);
  return ExitCode::kDone;
}

}  // namespace penstock
