// Where a run writes: config.yaml, metrics.jsonl, checkpoint-<step>/, model/.
// Not the writer of checkpoints. Two phases: choose_run_directory() only looks and may refuse, create_run_directory()
// writes; so that everything else about a run can be checked in between and a refused run leaves nothing behind.
// Invariant: a directory that holds a run is never taken for a new one unless the user said so; two processes never
// get the same directory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "app/run_config.h"

namespace penstock {

struct CheckpointEntry {
  int64_t step = 0;
  std::filesystem::path path;
};

// The checkpoint-<step> folders of a run, oldest first. Empty if `directory` does not exist.
std::vector<CheckpointEntry> run_checkpoints(const std::filesystem::path& directory);

using CheckpointTest = std::function<bool(const std::filesystem::path&)>;

// The one with the highest step that passes the test.
std::optional<CheckpointEntry> newest_checkpoint(const std::filesystem::path& directory,
                                                 const CheckpointTest& is_valid);

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
  std::optional<CheckpointEntry> resume;  // where to load from; `auto` without a valid checkpoint starts at step 0
};

// Looks, writes nothing. Throws Error(kBadInput): the directory holds a run (with the two commands to go on), or the
// checkpoint is not there. Error(kIo): nothing could be written there.
RunChoice choose_run_directory(const RunRequest& request, const CheckpointTest& is_valid);

// Makes the directory (kReplace: removes what the old run wrote) and returns its path. Throws Error(kIo), or
// Error(kBadInput) if another process has taken an explicit output_dir meanwhile.
std::filesystem::path create_run_directory(const RunChoice& choice);

// Writes config.yaml, under another name first, then renamed. It names the directory itself, and it asks neither to
// resume nor to overwrite: the one who runs it again says so. Throws Error(kIo).
void write_effective_config(const std::filesystem::path& directory, RunConfig config);

// True if the directory has a config.yaml, a metrics.jsonl or a checkpoint.
bool holds_run(const std::filesystem::path& directory);

// What a user types to go on with a run.
std::string resume_command(const std::filesystem::path& directory, const std::string& program = "penstock");

}  // namespace penstock
