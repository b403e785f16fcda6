#include "app/source_folder.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "app/run_directory.h"
#include "core/error.h"
#include "model/folder_files.h"
#include "model/folder_in_progress.h"
#include "model/hub_cache.h"

namespace penstock {

namespace fs = std::filesystem;

std::string find_model_folder(const RunConfig& config) {
  std::error_code ignored;
  try {
    return resolve_model_path(config.model.model_name_or_path);
  } catch (const Error&) {
    // Only for a run that has weights of its own: a new one needs the folder's.
    const fs::path kept = fs::path(config.training.output_dir) / kSourceName;
    const bool goes_on = !config.training.output_dir.empty() && !config.training.resume_from_checkpoint.empty();
    if (!goes_on || !fs::exists(kept / "config.json", ignored)) throw;
    spdlog::warn("{} is no longer there: its configuration and files come from {}", config.model.model_name_or_path,
                 kept.string());
    return kept.string();
  }
}

void keep_source_files(const std::string& model_folder, const fs::path& run, uint64_t max_bytes) {
  const fs::path target = run / kSourceName;
  std::error_code error;
  if (fs::exists(target, error)) return;
  FolderInProgress folder(target);
  copy_folder_file(model_folder, "config.json", folder.file("config.json"));
  uint64_t left = max_bytes;
  for (const std::string& name : unowned_files(model_folder)) {
    const uint64_t bytes = fs::file_size(fs::path(model_folder) / name, error);
    if (error || bytes > left) {
      spdlog::warn("{}/{} is not kept with the run: more than {} in all; export needs the folder itself for it",
                   model_folder, name, format_bytes(max_bytes));
      continue;
    }
    left -= bytes;
    copy_folder_file(model_folder, name, folder.file(name));
  }
  folder.commit();
}

ModelFolderSettings model_folder_settings(const RunSetup& setup) {
  const bool has_bytes = setup.config.dataset.tokenizer == Tokenizer::kByte;
  return {.dtype = wire_dtype(setup.config.optimizer.state_format),
          .tokenizer = has_bytes ? TokenizerFiles::kBytes : TokenizerFiles::kNone,
          .source = setup.model_folder};
}

}  // namespace penstock
