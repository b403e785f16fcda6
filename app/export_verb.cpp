#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <string_view>
#include <utility>

#include "app/console.h"
#include "app/run_memory.h"
#include "app/run_setup.h"
#include "app/source_folder.h"
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

// "5GB", "500 MB", "4096": decimal units, as transformers reads them.
uint64_t shard_bytes(const std::string& text) {
  if (text.empty()) return kDefaultShardBytes;
  const auto refuse = [&] {
    throw Error(ExitCode::kUsage, "--max_shard_size " + text + ": give a size such as 500MB or 5GB");
  };
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || number == 0) refuse();
  std::string unit(end, text.data() + text.size());
  if (unit.starts_with(' ')) unit.erase(0, 1);
  std::transform(unit.begin(), unit.end(), unit.begin(), [](unsigned char letter) { return std::toupper(letter); });
  for (const auto& [name, bytes] : {std::pair<std::string_view, uint64_t>{"", 1},
                                    {"KB", 1'000},
                                    {"MB", 1'000'000},
                                    {"GB", 1'000'000'000},
                                    {"TB", 1'000'000'000'000}}) {
    if (unit == name && number <= UINT64_MAX / bytes) return number * bytes;
  }
  refuse();
  return 0;
}

// What an export reads: the wire weights, and where they are not what is written, the rest of the masters.
BufferTable weight_buffers(const RunSetup& setup, DType dtype) {
  const bool needs_state = dtype != wire_dtype(setup.config.optimizer.state_format);
  const RunPlan plan = plan_run(training_shape(setup), step_settings(setup, Purpose::kTrain));
  BufferTable weights;
  for (const Buffer& buffer : plan.planner.buffers().all()) {
    const bool is_state = buffer.kind == BufferKind::kHostState;
    if (buffer.kind == BufferKind::kHostWire || (is_state && needs_state)) weights.add(buffer);
  }
  return weights;
}

}  // namespace

ExitCode run_export(const ExportArguments& arguments) {
  const RunSetup setup = set_up_run(
      load_verb_config(arguments.verb.config, arguments.verb.overrides, DataNeed::kOptional), CudaLook::kLook);
  refuse_paced(setup, "export");
  ModelFolderSettings folder = model_folder_settings(setup);
  folder.dtype = export_dtype(arguments.dtype, setup.config.optimizer.state_format);
  folder.overwrite = arguments.overwrite;
  // A folder that we did not train says nothing about the byte tokenizer.
  const bool is_trained = !setup.config.training.resume_from_checkpoint.empty();
  if (!is_trained) folder.tokenizer = TokenizerFiles::kNone;
  folder.max_shard_bytes = shard_bytes(arguments.max_shard_size);
  check_model_folder_target(arguments.out, arguments.overwrite);
  if (is_trained && !setup.model_folder.empty()) {
    check_model_folder_source(setup.model_folder, layer_layouts(setup.model, setup.trainable));
  }
  const BufferTable buffers = weight_buffers(setup, folder.dtype);
  require_host_fit(setup, plan_memory(buffers, static_cast<uint64_t>(parameter_count(setup.model)), 0, 0));
  const std::unique_ptr<ModelMemory> memory = map_model_memory(setup, training_shape(setup), buffers);
  load_trained_weights(setup, *memory);
  export_model(*memory, arguments.out, folder);
  print_result(arguments.out);
  return ExitCode::kDone;
}

}  // namespace penstock
