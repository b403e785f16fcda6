#include <fmt/format.h>

#include "app/console.h"
#include "app/run_setup.h"
#include "app/verbs.h"
#include "streaming/model_weights.h"

namespace penstock {
namespace {

DType export_dtype(const std::string& name, StateFormat format) {
  if (name.empty()) return wire_dtype(format);
  if (name == dtype_name(DType::kFloat32)) return DType::kFloat32;
  if (name == dtype_name(DType::kBFloat16)) return DType::kBFloat16;
  throw Error(ExitCode::kUsage, "--dtype " + name + ": choose bfloat16 or float32");
}

// What an export reads. A float32 folder needs the masters, so the state comes along.
BufferTable weight_buffers(const RunSetup& setup) {
  const RunPlan plan = plan_run(training_shape(setup), step_settings(setup, Purpose::kTrain));
  BufferTable weights;
  for (const Buffer& buffer : plan.planner.buffers().all()) {
    if (buffer.kind == BufferKind::kHostWire || buffer.kind == BufferKind::kHostState) weights.add(buffer);
  }
  return weights;
}

}  // namespace

ExitCode run_export(const ExportArguments& arguments) {
  const RunSetup setup =
      set_up_run(load_verb_config(arguments.verb.config, arguments.verb.overrides, DataNeed::kOptional));
  refuse_paced(setup, "export");
  ModelFolderSettings folder{.dtype = export_dtype(arguments.dtype, setup.config.optimizer.state_format),
                             .tokenizer = TokenizerFiles::kNone,
                             .overwrite = arguments.overwrite};
  if (setup.config.dataset.tokenizer == Tokenizer::kByte) folder.tokenizer = TokenizerFiles::kBytes;
  check_model_folder_target(arguments.out, arguments.overwrite);
  const BufferTable buffers = weight_buffers(setup);
  require_host_fit(setup, plan_memory(buffers, static_cast<uint64_t>(parameter_count(setup.model)), 0, 0));
  ModelMemory memory(setup.model, setup.config.optimizer.state_format, buffers);
  load_trained_weights(setup, memory);
  export_model(memory, arguments.out, folder);
  print_result(arguments.out);
  return ExitCode::kDone;
}

}  // namespace penstock
