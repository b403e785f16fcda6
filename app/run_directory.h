// Where a run writes: config.yaml, metrics.jsonl, checkpoint-<step>/, model/, source/.
// Not the writer of checkpoints. Two phases: choose_run_directory() only looks and may refuse, create_run_directory()
// writes; so that everything else about a run can be checked in between and a refused run leaves nothing behind.
// Invariant: a directory that holds a run is never taken for a new one unless the user said so; two processes never
// get the same directory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "app/run_config.h"

namespace penstock {

// The folder in a run that app/source_folder.h fills.
inline constexpr const char* kSourceName = "source";

struct RunRequest {
  std::filesystem::path config_path;   // its stem names the run
  std::string output_dir;              // empty: <runs>/<stem>-<n>
  std::string resume_from_checkpoint;  // empty, "auto", a checkpoint folder, or a run directory
  bool overwrite = false;
  std::string program = "penstock";  // as the user called it; messages print commands to copy
  std::filesystem::path runs = "runs";
};

struct RunChoice {
  enum class Kind : uint8_t { kNew, kReplace, kContinue };
  Kind kind = Kind::kNew;
  std::filesystem::path directory;  // kNew: empty means the first free <runs>/<stem>-<n>
  std::filesystem::path runs;
  std::string stem;
  std::filesystem::path resume;  // the checkpoint to load; empty: none. kContinue always has one, of its own.
};

// Looks, writes nothing. Throws Error(kBadInput): the directory holds a run (with the two commands to go on), or the
// checkpoint is not there; `auto` starts a new run only where there is none. Error(kIo): nothing could be written
// there.
RunChoice choose_run_directory(const RunRequest& request);

// Makes the directory (kReplace: removes what the old run wrote) and returns its path. Throws Error(kIo), or
// Error(kBadInput) if another process has taken an explicit output_dir meanwhile. A new directory has an empty
// config.yaml, which says that it is taken; after a crash before write_effective_config() it still does, and
// overwrite_output_dir=true is the way out, as for every run without a checkpoint.
std::filesystem::path create_run_directory(const RunChoice& choice);

// Writes config.yaml, durably and in one go. It names the directory itself, and it asks neither to
// resume nor to overwrite: the one who runs it again says so. Throws Error(kIo).
void write_effective_config(const std::filesystem::path& directory, RunConfig config);

// True if the directory has a config.yaml, a metrics.jsonl or a checkpoint.
bool holds_run(const std::filesystem::path& directory);

// What a user types to go on with a run; words are quoted where the shell needs it.
std::string resume_command(const std::filesystem::path& directory, const std::string& program = "penstock");

// The same for a run without a checkpoint of its own: it begins again, from `source` if that is not empty.
std::string restart_command(const std::filesystem::path& directory, const std::filesystem::path& source,
                            const std::string& program = "penstock");

}  // namespace penstock
