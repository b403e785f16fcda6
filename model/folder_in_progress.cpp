#include "model/folder_in_progress.h"

#include <system_error>

#include "core/error.h"
#include "core/file.h"
#include "fmt/format.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

void require(const std::error_code& code, const char* action, const fs::path& path) {
  if (code) throw Error(ExitCode::kIo, fmt::format("{}: cannot {}: {}", path.string(), action, code.message()));
}

}  // namespace

FolderInProgress::FolderInProgress(const fs::path& target) : target_(target), temporary_(target.string() + ".tmp") {
  std::error_code code;
  fs::remove_all(temporary_, code);
  if (!code) fs::create_directories(temporary_, code);
  require(code, "create", temporary_);
}

FolderInProgress::~FolderInProgress() {
  std::error_code ignored;
  fs::remove_all(temporary_, ignored);
}

void FolderInProgress::commit() {
  const fs::path previous = target_.string() + ".old";
  const std::string parent = target_.has_parent_path() ? target_.parent_path().string() : ".";
  std::error_code code;
  if (fs::exists(target_)) {
    fs::remove_all(previous, code);
    if (!code) fs::rename(target_, previous, code);
    require(code, "replace", target_);
  }
  sync_directory(temporary_.string());
  fs::rename(temporary_, target_, code);
  require(code, "rename", temporary_);
  sync_directory(parent);
  fs::remove_all(previous, code);
  require(code, "remove", previous);
}

}  // namespace penstock
