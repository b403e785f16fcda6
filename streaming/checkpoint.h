// Saves and loads the state a run continues from, bit for bit: a folder checkpoint-<step> with one file per layer (wire
// weights, then state, whole slabs) and manifest.json with sizes, hashes and checksums.
// Durable or absent: written under a temporary name, every file and the folder fsynced, then renamed.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "data/step_batch.h"
#include "streaming/model_memory.h"
#include "streaming/trainer.h"

namespace penstock {

struct CheckpointState {
  TrainerProgress progress;
  DataCursor cursor;
  // What changes results and is stored with a run; a resumed run says so when it differs.
  std::string compute_dtype;
  int compute_threads = 0;
  uint64_t seed = 0;
};

// The trainer has drained. Throws Error(kIo); nothing of the new checkpoint stays behind then.
std::filesystem::path save_checkpoint(const std::filesystem::path& run_directory, const ModelMemory& memory,
                                      const CheckpointState& state);

// Reads the manifest only. Throws Error(kBadInput) naming the file and what is wrong.
CheckpointState read_checkpoint_state(const std::filesystem::path& checkpoint);

// Fills weights and, where the purpose has it, optimizer state. Checksums, layouts and the state format are verified;
// Error(kBadInput) names the file.
CheckpointState load_checkpoint(const std::filesystem::path& checkpoint, ModelMemory& memory);

// Checkpoints of a run that have a manifest, oldest first.
std::vector<std::filesystem::path> list_checkpoints(const std::filesystem::path& run_directory);

// Deletes the oldest beyond `limit` (0: keep all), and folders that a crash left half-written.
void remove_old_checkpoints(const std::filesystem::path& run_directory, int64_t limit);

}  // namespace penstock
