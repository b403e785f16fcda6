#include "app/metrics_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/error.h"

namespace penstock {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;  // fields in the order they are written

namespace {

[[noreturn]] void throw_io(const fs::path& path) {
  throw Error(ExitCode::kIo, fmt::format("{}: cannot be written ({}); free some space or choose another output_dir",
                                         path.string(), std::strerror(errno != 0 ? errno : EIO)));
}

// Null if the line is not an object with a whole-number step.
std::optional<int64_t> step_of_line(const std::string& line) {
  const Json object = Json::parse(line, nullptr, false);
  if (!object.is_object() || !object.contains("step") || !object["step"].is_number_integer()) return std::nullopt;
  return object["step"].get<int64_t>();
}

void sync_path(const fs::path& path, int flags) {
  const int descriptor = open(path.c_str(), flags | O_CLOEXEC);
  if (descriptor < 0) throw_io(path);
  const bool synced = fsync(descriptor) == 0;
  close(descriptor);
  if (!synced) throw_io(path);
}

// Writes what stays beside the log, then renames it over the log.
void truncate_log(const fs::path& path, int64_t last_step) {
  std::ifstream old(path, std::ios::binary);
  if (!old) return;
  const fs::path kept_path = path.string() + ".new";
  errno = 0;
  std::ofstream kept(kept_path, std::ios::binary | std::ios::trunc);
  for (std::string line; std::getline(old, line);) {
    const std::optional<int64_t> step = step_of_line(line);
    if (step && *step <= last_step && *step > 0) kept << line << '\n';
  }
  kept.close();
  if (!kept) throw_io(kept_path);
  sync_path(kept_path, O_WRONLY);
  if (std::rename(kept_path.c_str(), path.c_str()) != 0) throw_io(path);
  sync_path(path.has_parent_path() ? path.parent_path() : fs::path("."), O_RDONLY | O_DIRECTORY);
}

}  // namespace

// nlohmann-json writes numbers that are not finite as null.
std::string metrics_line(const StepMetrics& metrics) {
  Json object = {{"step", metrics.step},
                 {"loss", metrics.loss},
                 {"gradient_norm", metrics.gradient_norm},
                 {"clip_factor", metrics.clip_factor},
                 {"learning_rate", metrics.learning_rate},
                 {"tokens", metrics.tokens},
                 {"trained_tokens", metrics.trained_tokens},
                 {"tokens_per_second", metrics.tokens_per_second},
                 {"step_ms", metrics.step_ms},
                 {"data_ms", metrics.data_ms}};
  for (int lane = 0; lane < kLaneCount; ++lane) {
    const std::string name = std::string(lane_name(static_cast<LaneKind>(lane))) + "_ms";
    object[name] = metrics.lane_ms[static_cast<size_t>(lane)];
  }
  if (metrics.skipped) object["skipped"] = true;
  return object.dump();
}

std::string metrics_line(const EvaluationMetrics& metrics) {
  Json object = {{"step", metrics.step}, {"eval_loss", metrics.eval_loss}, {"bits_per_byte", nullptr}};
  if (metrics.bits_per_byte > 0) object["bits_per_byte"] = metrics.bits_per_byte;
  return object.dump();
}

MetricsLog::MetricsLog(const fs::path& path, int64_t last_step) : path_(path) {
  truncate_log(path, last_step);
  errno = 0;
  file_.open(path, std::ios::binary | std::ios::app);
  if (!file_) throw_io(path_);
}

void MetricsLog::append_line(const std::string& line) {
  errno = 0;
  file_ << line << '\n' << std::flush;
  if (!file_) throw_io(path_);
}

}  // namespace penstock
