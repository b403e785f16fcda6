// The Hugging Face folder a run started from, as export needs it: its configuration and the small files beside the
// weights. A run keeps a copy of those in <output_dir>/source, for the day the folder is gone.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "app/run_setup.h"
#include "core/bytes.h"
#include "model/hf_folder_writer.h"

namespace penstock {

// Of all kept files together; tokenizers take some tens of MiB.
inline constexpr uint64_t kMaxKeptBytes = 256 * kMiB;

// The folder that model.model_name_or_path names; <output_dir>/source where that is no longer there, the run has kept
// it, and is resumed. Throws Error(kBadInput) as resolve_model_path does.
std::string find_model_folder(const RunConfig& config);

// Copies config.json and the files we do not own from `model_folder` to <run>/source; complete or absent. Warns and
// leaves out what would take it beyond `max_bytes`. Does nothing where the run has a copy. Throws Error.
void keep_source_files(const std::string& model_folder, const std::filesystem::path& run,
                       uint64_t max_bytes = kMaxKeptBytes);

// What every export of this run has in common; dtype is that of the wire weights.
ModelFolderSettings model_folder_settings(const RunSetup& setup);

}  // namespace penstock
