// The `penstock` command: parses the line, runs one verb, turns errors into one line and an exit code.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <iostream>

#include "app/console.h"
#include "app/torch_version.h"
#include "app/verbs.h"
#include "core/cuda/linked_runtime.h"
#include "core/cuda/pin_probe.h"
#include "core/float_mode.h"
#include "model/cuda_numerics.h"

namespace {

using penstock::Error;
using penstock::ExitCode;
using penstock::VerbArguments;

// CONFIG, then overrides in any form that the configuration loader knows ("section.key=value", "--key value").
CLI::App* add_verb(CLI::App& app, const char* name, const char* meaning, VerbArguments& arguments) {
  CLI::App* verb = app.add_subcommand(name, meaning);
  verb->add_option("config", arguments.config, "configuration file, run directory or Hugging Face folder")
      ->type_name("CONFIG")
      ->required();
  verb->allow_extras();
  verb->footer("Any key can be set after CONFIG: section.key=value, key=value or --key value (docs/configuration.md).");
  return verb;
}

// Started by ourselves only (core/cuda/pin_probe.h).
struct PinProbeArguments {
  int index = 0;
  uint64_t bytes = 0;
};

struct CommandLine {
  VerbArguments arguments;
  penstock::ExportArguments export_arguments;
  std::string gradients_out;
  bool schedule = false;
  penstock::InitArguments init;
  penstock::ProbeArguments probe;
  PinProbeArguments pin_probe;
};

void add_init(CLI::App& app, penstock::InitArguments& arguments) {
  CLI::App* init = app.add_subcommand("init", "write a commented configuration that fits this machine");
  init->add_option("model", arguments.model,
                   "Hugging Face folder, hub id in the local cache, or the size of a new model: 125M, qwen3:1.5B")
      ->type_name("MODEL_FOLDER_OR_SHAPE")
      ->required();
  init->add_option("--data", arguments.data, "training files, folders or patterns")->type_name("FILE");
  init->add_option("--output,-o", arguments.output, "file to write, - for standard output (default: MODEL.yaml)")
      ->type_name("FILE");
  init->add_flag("--overwrite", arguments.overwrite, "replace a file that is there");
}

void add_probe(CLI::App& app, penstock::ProbeArguments& arguments) {
  CLI::App* probe = app.add_subcommand("probe", "measure this machine; plan reads the result");
  probe->add_option("--output-dir,--output_dir", arguments.output_dir, "whose disk is measured (default: runs)")
      ->type_name("FOLDER");
  probe->add_option("--device", arguments.device, "what computes (default: auto)")
      ->check(CLI::IsMember({"auto", "host", "cuda"}))
      ->type_name("DEVICE");
  probe->add_option("--index", arguments.device_index, "which card (default: 0)")
      ->check(CLI::Range(0, 127))
      ->type_name("N");
  probe->add_flag("--quick", arguments.quick, "small sizes and few samples: seconds, and rougher");
  probe->add_flag("--json", arguments.json, "one JSON object");
}

void add_doctor(CLI::App& app, VerbArguments& arguments) {
  CLI::App* doctor = app.add_subcommand("doctor", "what of this machine costs speed, and what to do about it");
  doctor->add_option("config", arguments.config, "configuration file whose settings are looked at too")
      ->type_name("CONFIG");
  doctor->add_flag("--json", arguments.json, "one JSON object");
  doctor->allow_extras();
  doctor->footer("Any key can be set after CONFIG, as for train.");
}

void add_verbs(CLI::App& app, CommandLine& line) {
  add_verb(app, "train", "train a model", line.arguments);
  CLI::App* eval = add_verb(app, "eval", "loss over the validation documents", line.arguments);
  add_verb(app, "generate", "continue a prompt (--prompt TEXT)", line.arguments);
  CLI::App* gradients = add_verb(app, "gradients", "write every gradient of the first step", line.arguments);
  CLI::App* export_verb = add_verb(app, "export", "write a Hugging Face folder", line.arguments);
  CLI::App* plan = add_verb(app, "plan", "bytes of host and device, and the step's schedule", line.arguments);
  for (CLI::App* verb : {eval, gradients, plan}) verb->add_flag("--json", line.arguments.json, "one JSON object");
  gradients->add_option("--out", line.gradients_out, "safetensors file to write")->type_name("FILE")->required();
  export_verb->add_option("--out", line.export_arguments.out, "folder to write")->type_name("FOLDER")->required();
  export_verb->add_option("--dtype", line.export_arguments.dtype, "bfloat16 or float32 (default: as trained)");
  export_verb->add_option("--max_shard_size", line.export_arguments.max_shard_size,
                          "bytes of a weight file, as 500MB or 5GB (default: 5GB)");
  export_verb->add_flag("--overwrite", line.export_arguments.overwrite, "replace a model folder that is there");
  plan->add_flag("--schedule", line.schedule, "print the step, op by op");
  add_init(app, line.init);
  add_probe(app, line.probe);
  add_doctor(app, line.arguments);
  CLI::App* pin_probe = app.add_subcommand("pin-probe", "pins host memory until the system refuses")->group("");
  pin_probe->add_option("index", line.pin_probe.index)->required();
  pin_probe->add_option("bytes", line.pin_probe.bytes)->required();
}

ExitCode run_pin_probe(const PinProbeArguments& arguments) {
  penstock::CudaRuntime* runtime = penstock::linked_cuda_runtime();
  if (runtime == nullptr) throw Error(ExitCode::kDevice, "pin-probe: this build has no CUDA");
  return static_cast<ExitCode>(penstock::pin_probe_main(*runtime, arguments.index, arguments.bytes, std::cout));
}

ExitCode run_verb(const CLI::App& app, CommandLine& line) {
  const CLI::App& verb = *app.get_subcommands().front();
  line.arguments.overrides = verb.remaining();
  const std::string name = verb.get_name();
  if (name == "train") return run_train(line.arguments);
  if (name == "eval") return run_eval(line.arguments);
  if (name == "generate") return run_generate(line.arguments);
  if (name == "gradients") return run_gradients(line.arguments, line.gradients_out);
  if (name == "init") return run_init(line.init);
  if (name == "pin-probe") return run_pin_probe(line.pin_probe);
  if (name == "probe") return run_probe(line.probe);
  if (name == "doctor") return run_doctor(line.arguments);
  if (name == "plan") return run_plan(line.arguments, line.schedule);
  line.export_arguments.verb = line.arguments;
  return run_export(line.export_arguments);
}

int run_command(int argc, char** argv) {
  CLI::App app("Penstock trains language models that are larger than the GPU's memory.", "penstock");
  app.require_subcommand(1);
  CommandLine line;
  line.arguments.program = line.init.program = argv[0];
  add_verbs(app, line);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : static_cast<int>(ExitCode::kUsage);
  }
  return static_cast<int>(run_verb(app, line));
}

}  // namespace

int main(int argc, char** argv) {
  // Per thread and inherited: before any other thread or ATen call exists.
  penstock::set_flush_denormals();
  penstock::prepare_cuda_environment();
  penstock::start_console(penstock::LogLevel::kInfo);
  try {
    penstock::check_torch_version();
    return run_command(argc, argv);
  } catch (const Error& error) {
    penstock::error_console().print_line(std::string("error: ") + error.what());
    return static_cast<int>(error.code());
  } catch (const std::bad_alloc&) {
    penstock::error_console().print_line("error: the system has no memory left; use a smaller model or micro-batch");
    return static_cast<int>(ExitCode::kDoesNotFit);
  } catch (const std::exception& error) {
    penstock::error_console().print_line(std::string("error: unexpected: ") + error.what());
    return static_cast<int>(ExitCode::kIo);
  }
}
