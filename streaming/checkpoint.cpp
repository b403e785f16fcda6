#include "streaming/checkpoint.h"

#include <fmt/format.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"

namespace penstock {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr int kFormatVersion = 1;
constexpr uint64_t kMaxManifestBytes = 16 * kMiB;
constexpr const char* kPrefix = "checkpoint-";
constexpr const char* kPartialMark = ".partial";

std::string layer_file_name(int layer) { return fmt::format("layer-{:04}.bin", layer); }

uint64_t checksum(std::span<const std::byte> bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

[[noreturn]] void bad(const fs::path& file, const std::string& what) {
  throw Error(ExitCode::kBadInput, file.string() + ": " + what);
}

json layer_entry(const ModelMemory& memory, int layer) {
  const LayerStateView view = memory.layer(layer);
  return {{"file", layer_file_name(layer)},
          {"layout_hash", view.layout->hash()},
          {"wire_bytes", view.wire.size()},
          {"state_bytes", view.state.size()},
          {"wire_checksum", checksum(view.wire)},
          {"state_checksum", checksum(view.state)}};
}

json manifest(const ModelMemory& memory, const CheckpointState& state) {
  json layers = json::array();
  for (int layer = 0; layer < memory.layer_count(); ++layer) layers.push_back(layer_entry(memory, layer));
  return {{"format_version", kFormatVersion},
          {"step", state.progress.step},
          {"update_count", state.progress.update_count},
          {"cursor", {{"epoch", state.cursor.epoch}, {"row", state.cursor.row}}},
          {"state_format", state_format_name(memory.format())},
          {"compute_dtype", state.compute_dtype},
          {"compute_threads", state.compute_threads},
          {"seed", state.seed},
          {"layers", layers}};
}

json read_manifest(const fs::path& checkpoint) {
  const fs::path path = checkpoint / "manifest.json";
  json parsed = json::parse(read_text_file(path.string(), kMaxManifestBytes), nullptr, false);
  if (parsed.is_discarded() || !parsed.is_object()) bad(path, "is not JSON; use another checkpoint");
  if (parsed.value("format_version", 0) != kFormatVersion) {
    bad(path, fmt::format("has format_version {}, this program reads {}", parsed.value("format_version", 0), kFormatVersion));
  }
  return parsed;
}

CheckpointState state_of(const json& manifest, const fs::path& checkpoint) {
  try {
    const json& cursor = manifest.at("cursor");
    return {.progress = {manifest.at("step"), manifest.at("update_count")},
            .cursor = {cursor.at("epoch"), cursor.at("row")},
            .compute_dtype = manifest.at("compute_dtype"),
            .compute_threads = manifest.at("compute_threads"),
            .seed = manifest.at("seed")};
  } catch (const json::exception& error) {
    bad(checkpoint / "manifest.json", std::string("is incomplete: ") + error.what());
  }
}

// Fills `to` from the file and compares with the manifest's checksum.
void load_part(const fs::path& path, const InputFile& file, uint64_t offset, std::span<std::byte> to, uint64_t expected) {
  file.read(offset, to);
  if (checksum(to) == expected) return;
  bad(path, "checksum differs from the manifest's: the file is damaged; use another checkpoint");
}

void load_layer(const fs::path& path, const json& entry, const LayerStateView& view) {
  const uint64_t wire_bytes = entry.at("wire_bytes");
  const uint64_t state_bytes = entry.at("state_bytes");
  if (entry.at("layout_hash").get<uint64_t>() != view.layout->hash() || wire_bytes != view.wire.size()) {
    bad(path, "holds a layer of another shape; the configuration's model differs from the run's");
  }
  const InputFile file(path.string());
  if (file.size_bytes() != wire_bytes + state_bytes) bad(path, "has the wrong size; use another checkpoint");
  load_part(path, file, 0, view.wire, entry.at("wire_checksum"));
  if (view.state.empty()) return;
  if (state_bytes != view.state.size()) bad(path, "holds another state format than optimizer.state_format asks for");
  load_part(path, file, wire_bytes, view.state, entry.at("state_checksum"));
}

// -1: not a checkpoint's name.
int64_t step_of(const fs::path& folder) {
  const std::string name = folder.filename().string();
  if (!name.starts_with(kPrefix)) return -1;
  const std::string digits = name.substr(std::string(kPrefix).size());
  if (digits.empty() || digits.size() > 18 || !std::all_of(digits.begin(), digits.end(), ::isdigit)) return -1;
  return std::stoll(digits);
}

}  // namespace

fs::path save_checkpoint(const fs::path& run_directory, const ModelMemory& memory, const CheckpointState& state) {
  const fs::path final_path = run_directory / (kPrefix + std::to_string(state.progress.step));
  const fs::path partial = final_path.string() + kPartialMark;
  std::error_code error;
  fs::remove_all(partial, error);
  if (!fs::create_directory(partial, error)) {
    throw Error(ExitCode::kIo, fmt::format("cannot create {}: {}", partial.string(), error.message()));
  }
  try {
    for (int layer = 0; layer < memory.layer_count(); ++layer) {
      OutputFile file((partial / layer_file_name(layer)).string());
      file.write(memory.layer(layer).wire);
      file.write(memory.layer(layer).state);
      file.commit();
    }
    write_text_file((partial / "manifest.json").string(), manifest(memory, state).dump(1) + "\n");
    sync_directory(partial.string());
    fs::remove_all(final_path);
    fs::rename(partial, final_path);
    sync_directory(run_directory.string());
  } catch (const fs::filesystem_error& failure) {
    fs::remove_all(partial, error);
    throw Error(ExitCode::kIo, failure.what());
  } catch (...) {
    fs::remove_all(partial, error);
    throw;
  }
  return final_path;
}

CheckpointState read_checkpoint_state(const fs::path& checkpoint) {
  return state_of(read_manifest(checkpoint), checkpoint);
}

CheckpointState load_checkpoint(const fs::path& checkpoint, ModelMemory& memory) {
  const json parsed = read_manifest(checkpoint);
  const fs::path path = checkpoint / "manifest.json";
  try {
    const std::string format = parsed.at("state_format");
    if (format != state_format_name(memory.format())) {
      bad(path, fmt::format("was saved with optimizer.state_format {}, the configuration asks for {}", format,
                            state_format_name(memory.format())));
    }
    const json& layers = parsed.at("layers");
    if (layers.size() != static_cast<size_t>(memory.layer_count())) {
      bad(path, fmt::format("has {} layers, the configuration's model {}", layers.size(), memory.layer_count()));
    }
    for (int layer = 0; layer < memory.layer_count(); ++layer) {
      load_layer(checkpoint / layer_file_name(layer), layers.at(static_cast<size_t>(layer)), memory.layer(layer));
    }
  } catch (const json::exception& error) {
    bad(path, std::string("is incomplete: ") + error.what());
  }
  return state_of(parsed, checkpoint);
}

std::vector<fs::path> list_checkpoints(const fs::path& run_directory) {
  std::vector<fs::path> found;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(run_directory, error)) {
    if (step_of(entry.path()) >= 0 && fs::exists(entry.path() / "manifest.json", error)) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end(), [](const fs::path& a, const fs::path& b) { return step_of(a) < step_of(b); });
  return found;
}

void remove_old_checkpoints(const fs::path& run_directory, int64_t limit) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(run_directory, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kPrefix) && name.ends_with(kPartialMark)) fs::remove_all(entry.path(), error);
  }
  if (limit <= 0) return;
  std::vector<fs::path> checkpoints = list_checkpoints(run_directory);
  const int64_t surplus = static_cast<int64_t>(checkpoints.size()) - limit;
  for (int64_t i = 0; i < surplus; ++i) fs::remove_all(checkpoints[static_cast<size_t>(i)], error);
}

}  // namespace penstock
