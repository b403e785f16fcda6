#include "app/machine_profile.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>
#include <xxhash.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "app/probe/host_ram.h"
#include "app/probe/processor.h"
#include "core/bytes.h"
#include "core/error.h"
#include "core/file.h"
#include "core/topology.h"
#include "model/strict_json.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMostFileBytes = kMiB;

// An absolute folder, as the XDG specification wants it.
fs::path folder_variable(const char* name) {
  const char* value = std::getenv(name);
  const fs::path path(value == nullptr ? "" : value);
  return path.is_absolute() ? path : fs::path();
}

// A card that is planned for and absent is none that was ever measured.
std::string device_text(const RunDevice& device) {
  if (device.card) return device.card->properties.name;
  return device.backend == Backend::kHost ? "host" : "absent";
}

}  // namespace

double MachineProfile::tflops(DType dtype) const {
  for (const GemmRate& rate : gemm) {
    if (rate.dtype == dtype) return rate.tflops;
  }
  return 0;
}

MachineIdentity this_machine(const RunDevice& device) {
  return {.processor = read_processor().model,
          .core_count = read_topology().core_count(),
          .memory_gib = (read_host_ram().total_bytes + kGiB / 2) / kGiB,
          .device = device_text(device)};
}

fs::path machine_profile_folder() {
  if (const fs::path cache = folder_variable("XDG_CACHE_HOME"); !cache.empty()) return cache / "penstock";
  if (const fs::path home = folder_variable("HOME"); !home.empty()) return home / ".cache" / "penstock";
  return {};
}

std::string machine_profile_name(const MachineIdentity& identity) {
  const std::string text = to_json(identity).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return fmt::format("machine-{:016x}.json", XXH3_64bits(text.data(), text.size()));
}

std::optional<MachineProfile> load_machine_profile(const RunDevice& device) {
  const fs::path folder = machine_profile_folder();
  if (folder.empty()) return std::nullopt;
  return load_machine_profile(folder, this_machine(device));
}

std::optional<MachineProfile> load_machine_profile(const fs::path& folder, const MachineIdentity& identity) {
  const fs::path path = folder / machine_profile_name(identity);
  std::error_code error;
  if (!fs::exists(path, error)) return std::nullopt;
  try {
    MachineProfile profile =
        machine_profile_from_json(parse_strict_json(read_text_file(path.string(), kMostFileBytes), path.string()));
    if (profile.identity == identity) return profile;
    spdlog::warn("{} is of another machine and ignored; penstock probe replaces it", path.string());
  } catch (const Error& problem) {
    spdlog::warn("the saved probe is ignored, penstock probe replaces it: {}", problem.what());
  }
  return std::nullopt;
}

fs::path save_machine_profile(const fs::path& folder, const MachineProfile& profile) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw Error(ExitCode::kIo, fmt::format("{}: cannot be made: {}", folder.string(), error.message()));
  const fs::path path = folder / machine_profile_name(profile.identity);
  // Not to `path` itself: the temporary name beside it is the same for every process that probes.
  const fs::path own = folder / fmt::format("{}.{}", path.filename().string(), getpid());
  write_text_file(own.string(), to_json(profile).dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  fs::rename(own, path, error);
  if (error) {
    const std::string problem = error.message();
    fs::remove(own, error);
    throw Error(ExitCode::kIo, fmt::format("{}: cannot be replaced: {}", path.string(), problem));
  }
  sync_directory(folder.string());
  return path;
}

}  // namespace penstock
