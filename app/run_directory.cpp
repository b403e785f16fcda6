#include "app/run_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <string_view>
#include <system_error>
#include <vector>

#include "app/config_file.h"
#include "core/error.h"
#include "core/file.h"
#include "streaming/checkpoint.h"

namespace penstock {

namespace fs = std::filesystem;

namespace {

constexpr const char* kConfigName = "config.yaml";
constexpr const char* kMetricsName = "metrics.jsonl";
constexpr const char* kModelName = "model";

[[noreturn]] void throw_io(const fs::path& path, int error) {
  throw Error(ExitCode::kIo, fmt::format("{}: cannot be written ({}); choose another training.output_dir",
                                         path.string(), std::strerror(error)));
}

// A word of a command to copy.
std::string shell_word(const std::string& text) {
  constexpr std::string_view kPlain = "%+,-./:=@_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  if (!text.empty() && text.find_first_not_of(kPlain) == std::string::npos) return text;
  std::string quoted = "'";
  for (const char letter : text) quoted += letter == '\'' ? std::string("'\\''") : std::string(1, letter);
  return quoted + "'";
}

std::string train_command(const std::string& program, const fs::path& config, const std::string& keys) {
  return fmt::format("{} train {} {}", shell_word(program), shell_word(config.string()), keys);
}

// The nearest ancestor that exists must be a directory we may write into.
void require_writable(const fs::path& directory) {
  std::error_code ignored;
  fs::path existing = fs::absolute(directory).lexically_normal();
  while (!fs::exists(existing, ignored) && existing.has_relative_path()) existing = existing.parent_path();
  if (!fs::is_directory(existing, ignored)) throw_io(directory, ENOTDIR);
  if (access(existing.c_str(), W_OK | X_OK) != 0) throw_io(directory, errno);
}

// Runs are numbered from 1; the highest one that has a checkpoint is what `auto` without output_dir goes on with.
std::optional<fs::path> newest_numbered_run(const fs::path& runs, const std::string& stem) {
  std::optional<fs::path> newest;
  int64_t newest_number = 0;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(runs, error)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind(stem + "-", 0) != 0) continue;
    const std::optional<int64_t> number = checkpoint_step("checkpoint-" + name.substr(stem.size() + 1));  // same rules
    if (!number || *number <= newest_number || list_checkpoints(entry.path()).empty()) continue;
    newest = entry.path();
    newest_number = *number;
  }
  return newest;
}

[[noreturn]] void refuse_held(const RunRequest& request, const fs::path& directory) {
  const auto command = [&](const char* key) {
    return train_command(request.program, request.config_path,
                         shell_word("output_dir=" + directory.string()) + " " + key);
  };
  throw Error(ExitCode::kBadInput,
              fmt::format("{}: holds a run already; to continue it: `{}`; to replace it: `{}`", directory.string(),
                          command("resume_from_checkpoint=auto"), command("overwrite_output_dir=true")));
}

RunChoice choose_new(const RunRequest& request, RunChoice choice) {
  choice.kind = RunChoice::Kind::kNew;
  if (!choice.directory.empty() && holds_run(choice.directory)) {
    if (!request.overwrite) refuse_held(request, choice.directory);
    choice.kind = RunChoice::Kind::kReplace;
  }
  require_writable(choice.directory.empty() ? request.runs : choice.directory);
  return choice;
}

RunChoice choose_auto(const RunRequest& request, RunChoice choice) {
  if (choice.directory.empty()) {
    const std::optional<fs::path> newest = newest_numbered_run(request.runs, choice.stem);
    if (!newest) return choose_new(request, std::move(choice));
    choice.directory = *newest;
  }
  const std::vector<fs::path> checkpoints = list_checkpoints(choice.directory);
  if (checkpoints.empty()) {
    if (!holds_run(choice.directory) || request.overwrite) return choose_new(request, std::move(choice));
    throw Error(ExitCode::kBadInput,
                fmt::format("training.resume_from_checkpoint: {} holds a run without a checkpoint; to replace it by a "
                            "new one add overwrite_output_dir=true",
                            choice.directory.string()));
  }
  choice.kind = RunChoice::Kind::kContinue;
  choice.resume = checkpoints.back();
  require_writable(choice.directory);
  return choice;
}

fs::path find_checkpoint(const fs::path& given) {
  const fs::path path = given.has_filename() ? given : given.parent_path();  // "a/checkpoint-5/" is the folder itself
  if (is_checkpoint(path)) return path;
  const std::vector<fs::path> checkpoints = list_checkpoints(path);
  if (!checkpoints.empty()) return checkpoints.back();
  throw Error(ExitCode::kBadInput,
              fmt::format("training.resume_from_checkpoint: {} is no valid checkpoint-<step> folder and holds none",
                          given.string()));
}

RunChoice choose_path(const RunRequest& request, RunChoice choice) {
  const fs::path checkpoint = find_checkpoint(request.resume_from_checkpoint);
  fs::path home = checkpoint.parent_path();
  if (home.empty()) home = ".";
  std::error_code ignored;
  const bool same = choice.directory.empty() || fs::equivalent(choice.directory, home, ignored);
  if (!same) choice = choose_new(request, std::move(choice));  // a branch: a new run from an old one's checkpoint
  if (same) {
    choice.kind = RunChoice::Kind::kContinue;
    choice.directory = home;
    require_writable(home);
  }
  choice.resume = checkpoint;
  return choice;
}

fs::path make_numbered(const fs::path& runs, const std::string& stem) {
  for (int64_t number = 1;; ++number) {
    const fs::path directory = runs / fmt::format("{}-{}", stem, number);
    if (mkdir(directory.c_str(), 0777) == 0) return directory;
    if (errno != EEXIST) throw_io(directory, errno);
  }
}

void make_directories(const fs::path& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) throw_io(directory, error.value());
}

// Exactly one process creates the empty config.yaml; it stands for "taken" until the real one replaces it.
bool claim(const fs::path& directory) {
  const fs::path path = directory / kConfigName;
  const int file = open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
  if (file >= 0) return close(file) == 0;
  if (errno != EEXIST) throw_io(path, errno);
  return false;
}

// Only what a run wrote goes; other files in the folder are not ours.
void remove_run(const fs::path& directory) {
  remove_checkpoints_after(directory, -1);
  for (const char* name : {kMetricsName, kModelName, kSourceName, kConfigName}) {
    std::error_code error;
    fs::remove_all(directory / name, error);
    if (error) throw_io(directory / name, error.value());
  }
}

}  // namespace

bool holds_run(const fs::path& directory) {
  std::error_code ignored;
  return fs::exists(directory / kConfigName, ignored) || fs::exists(directory / kMetricsName, ignored) ||
         !checkpoint_folders(directory).empty();
}

RunChoice choose_run_directory(const RunRequest& request) {
  RunChoice choice;
  choice.directory = request.output_dir;
  choice.runs = request.runs;
  choice.stem = request.config_path.stem().string();
  if (request.resume_from_checkpoint.empty()) return choose_new(request, std::move(choice));
  if (request.resume_from_checkpoint == "auto") return choose_auto(request, std::move(choice));
  return choose_path(request, std::move(choice));
}

fs::path create_run_directory(const RunChoice& choice) {
  if (choice.kind == RunChoice::Kind::kContinue) return choice.directory;
  if (choice.directory.empty()) {
    make_directories(choice.runs);
    const fs::path directory = make_numbered(choice.runs, choice.stem);
    claim(directory);
    return directory;
  }
  make_directories(choice.directory);
  if (choice.kind == RunChoice::Kind::kReplace) remove_run(choice.directory);
  if (!claim(choice.directory)) {
    throw Error(ExitCode::kBadInput, choice.directory.string() +
                                         ": another process has just started a run there; "
                                         "choose another training.output_dir");
  }
  return choice.directory;
}

void write_effective_config(const fs::path& directory, RunConfig config) {
  config.training.output_dir = directory.string();
  config.training.overwrite_output_dir = false;
  config.training.resume_from_checkpoint.clear();
  write_text_file((directory / kConfigName).string(), dump_run_config(config));
}

std::string resume_command(const fs::path& directory, const std::string& program) {
  return train_command(program, directory / kConfigName, "resume_from_checkpoint=auto");
}

std::string restart_command(const fs::path& directory, const fs::path& source, const std::string& program) {
  std::string keys = "overwrite_output_dir=true";
  if (!source.empty()) keys += " " + shell_word("resume_from_checkpoint=" + source.string());
  return train_command(program, directory / kConfigName, keys);
}

}  // namespace penstock
