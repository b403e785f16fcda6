// Saves and loads the state a run continues from, bit for bit: a folder checkpoint-<step> with one file per layer (wire
// weights, then state, whole slabs) and manifest.json with sizes, hashes and checksums, its own included.
// Durable or absent: written under a temporary name, every file and the folder fsynced, then renamed.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "data/step_batch.h"
#include "streaming/model_memory.h"
#include "streaming/trainer.h"

namespace penstock {

// What a data cursor's meaning depends on: with any of it changed, the cursor points at other text.
struct DataIdentity {
  uint64_t seed = 0;
  int64_t max_seq_len = 0;
  bool packing = true;
  int64_t documents = 0;         // of the training part
  int64_t first_epoch_rows = 0;  // rows of epoch 0: stands for the documents' lengths
  bool operator==(const DataIdentity&) const = default;
};

struct CheckpointState {
  TrainerProgress progress;
  DataCursor cursor;
  DataIdentity data;
  // Changes rounding only; a resumed run says so when it differs.
  std::string compute_dtype;
  int compute_threads = 0;
};

// The trainer has drained. Replaces a folder of the same name; until the new one has it, the old one stays on disk.
// Throws Error(kIo); nothing of the new checkpoint stays behind then.
std::filesystem::path save_checkpoint(const std::filesystem::path& run_directory, const ModelMemory& memory,
                                      const CheckpointState& state);

// Reads the manifest only. Throws Error(kBadInput) naming the file and what is wrong.
CheckpointState read_checkpoint_state(const std::filesystem::path& checkpoint);

// Fills weights and, where the purpose has it, optimizer state. Checksums, layouts and the state format are verified;
// Error(kBadInput) names the file.
CheckpointState load_checkpoint(const std::filesystem::path& checkpoint, ModelMemory& memory);

// Null if `folder` is not called checkpoint-<step>, without sign or leading zeros.
std::optional<int64_t> checkpoint_step(const std::filesystem::path& folder);

// True if it has a checkpoint's name and a manifest, which is written last.
bool is_checkpoint(const std::filesystem::path& folder);

// Folders with a checkpoint's name, complete or not and perhaps of another program, oldest first. Empty if there is no
// such directory.
std::vector<std::filesystem::path> checkpoint_folders(const std::filesystem::path& run_directory);

// Of these, the ones with a manifest: checkpoints that a run can be resumed from.
std::vector<std::filesystem::path> list_checkpoints(const std::filesystem::path& run_directory);

// Deletes the oldest beyond `limit` (0: keep all) except `written`, and folders that a crash left half-written.
void remove_old_checkpoints(const std::filesystem::path& run_directory, int64_t limit,
                            const std::filesystem::path& written);

// Deletes the checkpoints with a step above `step`, newest first, and returns how many. Throws Error(kIo).
int remove_checkpoints_after(const std::filesystem::path& run_directory, int64_t step);

}  // namespace penstock
