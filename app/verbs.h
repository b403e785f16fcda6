// The verbs of the `penstock` command, one file each. A verb gets its parsed arguments, prints results on standard
// output and logs on standard error, and throws Error; main() turns that into the exit code.
#pragma once

#include <string>
#include <vector>

#include "core/error.h"

namespace penstock {

// CONFIG and the overrides that follow it.
struct VerbArguments {
  std::string program = "penstock";  // as the user called it
  std::string config;
  std::vector<std::string> overrides;
  bool json = false;
};

// Trains; ends with an evaluation, a checkpoint, a Hugging Face folder and a sample. kSaved after SIGINT or SIGTERM.
ExitCode run_train(const VerbArguments& arguments);

// Loss, perplexity and bits per byte over the validation documents.
ExitCode run_eval(const VerbArguments& arguments);

// Text after a prompt.
ExitCode run_generate(const VerbArguments& arguments);

// Every gradient of the first step, fp32, before wire cast and clipping.
ExitCode run_gradients(const VerbArguments& arguments, const std::string& out);

struct ExportArguments {
  VerbArguments verb;
  std::string out;
  std::string dtype;           // bfloat16, float32 or empty: as trained
  std::string max_shard_size;  // "5GB"; empty: the default
  bool overwrite = false;
};
ExitCode run_export(const ExportArguments& arguments);

// The byte table, or with `schedule` the step as text; allocates nothing.
ExitCode run_plan(const VerbArguments& arguments, bool schedule);

struct ProbeArguments {
  std::string output_dir = "runs";  // whose disk is measured
  std::string device = "auto";      // or host, cuda
  int device_index = 0;
  bool quick = false;
  bool json = false;
};
// Measures this machine in less than 30 s, prints it and keeps it for `plan`.
ExitCode run_probe(const ProbeArguments& arguments);

// What of this machine costs speed, with remedies. `verb.config` may be empty: then of the defaults.
ExitCode run_doctor(const VerbArguments& verb);

struct InitArguments {
  std::string program = "penstock";
  std::string model;              // folder, hub id or size
  std::vector<std::string> data;  // files, folders, patterns
  std::string output;             // "-": standard output; empty: named after the model
  bool overwrite = false;
};
// Writes a commented configuration that fits this machine.
ExitCode run_init(const InitArguments& arguments);

}  // namespace penstock
