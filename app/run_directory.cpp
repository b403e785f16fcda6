#include "app/run_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <string_view>
#include <system_error>

#include "app/config_file.h"
#include "core/error.h"

namespace penstock {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kCheckpointPrefix = "checkpoint-";
constexpr const char* kConfigName = "config.yaml";
constexpr const char* kMetricsName = "metrics.jsonl";
constexpr const char* kModelName = "model";

[[noreturn]] void throw_io(const fs::path& path, int error) {
  throw Error(ExitCode::kIo, fmt::format("{}: cannot be written ({}); choose another training.output_dir",
                                         path.string(), std::strerror(error)));
}

std::optional<int64_t> step_of(const std::string& name) {
  if (name.rfind(kCheckpointPrefix, 0) != 0) return std::nullopt;
  const std::string_view digits = std::string_view(name).substr(kCheckpointPrefix.size());
  int64_t step = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), step);
  const bool canonical = digits == fmt::format("{}", step);  // no sign, no leading zeros
  if (error != std::errc{} || end != digits.data() + digits.size() || !canonical || step < 0) return std::nullopt;
  return step;
}

// The nearest ancestor that exists must be a directory we may write into.
void require_writable(const fs::path& directory) {
  std::error_code ignored;
  fs::path existing = fs::absolute(directory).lexically_normal();
  while (!fs::exists(existing, ignored) && existing.has_relative_path()) existing = existing.parent_path();
  if (!fs::is_directory(existing, ignored)) throw_io(directory, ENOTDIR);
  if (access(existing.c_str(), W_OK | X_OK) != 0) throw_io(directory, errno);
}

// Runs are numbered from 1; one highest valid checkpoint among them is what `auto` without output_dir goes on with.
std::optional<fs::path> newest_numbered_run(const fs::path& runs, const std::string& stem,
                                            const CheckpointTest& is_valid) {
  std::optional<fs::path> newest;
  int64_t newest_number = 0;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(runs, error)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind(stem + "-", 0) != 0) continue;
    const std::optional<int64_t> number = step_of(std::string(kCheckpointPrefix) + name.substr(stem.size() + 1));
    if (!number || *number <= newest_number || !newest_checkpoint(entry.path(), is_valid)) continue;
    newest = entry.path();
    newest_number = *number;
  }
  return newest;
}

void refuse_held(const RunRequest& request, const fs::path& directory) {
  const std::string train =
      fmt::format("{} train {} output_dir={}", request.program, request.config_path.string(), directory.string());
  throw Error(ExitCode::kBadInput,
              fmt::format("{}: holds a run already; to continue it: `{} resume_from_checkpoint=auto`; to replace it: "
                          "`{} overwrite_output_dir=true`",
                          directory.string(), train, train));
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

RunChoice choose_auto(const RunRequest& request, RunChoice choice, const CheckpointTest& is_valid) {
  if (choice.directory.empty()) {
    const std::optional<fs::path> newest = newest_numbered_run(request.runs, choice.stem, is_valid);
    if (!newest) return choose_new(request, std::move(choice));
    choice.directory = *newest;
  }
  if (!holds_run(choice.directory)) return choose_new(request, std::move(choice));
  choice.kind = RunChoice::Kind::kContinue;
  choice.resume = newest_checkpoint(choice.directory, is_valid);
  require_writable(choice.directory);
  return choice;
}

CheckpointEntry find_checkpoint(const fs::path& given, const CheckpointTest& is_valid) {
  const fs::path path = given.has_filename() ? given : given.parent_path();  // "a/checkpoint-5/" is the folder itself
  if (const std::optional<int64_t> step = step_of(path.filename().string())) {
    if (is_valid(path)) return {*step, path};
  } else if (const std::optional<CheckpointEntry> newest = newest_checkpoint(path, is_valid)) {
    return *newest;
  }
  throw Error(ExitCode::kBadInput,
              fmt::format("training.resume_from_checkpoint: {} is no valid checkpoint-<step> folder and holds none",
                          given.string()));
}

RunChoice choose_path(const RunRequest& request, RunChoice choice, const CheckpointTest& is_valid) {
  const CheckpointEntry checkpoint = find_checkpoint(request.resume_from_checkpoint, is_valid);
  fs::path home = checkpoint.path.parent_path();
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
  std::vector<fs::path> paths = {directory / kMetricsName, directory / kModelName, directory / kConfigName};
  for (const CheckpointEntry& checkpoint : run_checkpoints(directory)) paths.push_back(checkpoint.path);
  for (const fs::path& path : paths) {
    std::error_code error;
    fs::remove_all(path, error);
    if (error) throw_io(path, error.value());
  }
}

}  // namespace

std::vector<CheckpointEntry> run_checkpoints(const fs::path& directory) {
  std::vector<CheckpointEntry> checkpoints;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    const std::optional<int64_t> step = step_of(entry.path().filename().string());
    std::error_code ignored;
    if (step && entry.is_directory(ignored)) checkpoints.push_back({*step, entry.path()});
  }
  std::sort(checkpoints.begin(), checkpoints.end(),
            [](const CheckpointEntry& a, const CheckpointEntry& b) { return a.step < b.step; });
  return checkpoints;
}

std::optional<CheckpointEntry> newest_checkpoint(const fs::path& directory, const CheckpointTest& is_valid) {
  const std::vector<CheckpointEntry> checkpoints = run_checkpoints(directory);
  const auto newest = std::find_if(checkpoints.rbegin(), checkpoints.rend(),
                                   [&](const CheckpointEntry& entry) { return is_valid(entry.path); });
  if (newest == checkpoints.rend()) return std::nullopt;
  return *newest;
}

bool holds_run(const fs::path& directory) {
  std::error_code ignored;
  return fs::exists(directory / kConfigName, ignored) || fs::exists(directory / kMetricsName, ignored) ||
         !run_checkpoints(directory).empty();
}

RunChoice choose_run_directory(const RunRequest& request, const CheckpointTest& is_valid) {
  RunChoice choice;
  choice.directory = request.output_dir;
  choice.runs = request.runs;
  choice.stem = request.config_path.stem().string();
  if (request.resume_from_checkpoint.empty()) return choose_new(request, std::move(choice));
  if (request.resume_from_checkpoint == "auto") return choose_auto(request, std::move(choice), is_valid);
  return choose_path(request, std::move(choice), is_valid);
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
  const fs::path path = directory / kConfigName;
  const fs::path unfinished = directory / "config.yaml.new";
  errno = 0;
  std::ofstream file(unfinished, std::ios::binary | std::ios::trunc);
  file << dump_run_config(config);
  file.close();
  if (!file) throw_io(path, errno != 0 ? errno : EIO);
  std::error_code error;
  fs::rename(unfinished, path, error);
  if (error) throw_io(path, error.value());
}

std::string resume_command(const fs::path& directory, const std::string& program) {
  return fmt::format("{} train {} resume_from_checkpoint=auto", program, (directory / kConfigName).string());
}

}  // namespace penstock
