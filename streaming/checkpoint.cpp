#include "streaming/checkpoint.h"

#include <fmt/format.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/error.h"
#include "core/file.h"

namespace penstock {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr int kFormatVersion = 2;
constexpr uint64_t kMaxManifestBytes = 16 * kMiB;
constexpr std::string_view kPrefix = "checkpoint-";
constexpr std::string_view kPartialMark = ".partial";    // being written
constexpr std::string_view kReplacedMark = ".replaced";  // another has taken its name
constexpr const char* kManifestName = "manifest.json";

std::string layer_file_name(int layer) { return fmt::format("layer-{:04}.bin", layer); }

uint64_t checksum(std::span<const std::byte> bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

[[noreturn]] void bad(const fs::path& file, const std::string& what) {
  throw Error(ExitCode::kBadInput, file.string() + ": " + what);
}

json layer_entry(const ModelMemory& memory, int layer) {
  const LayerStateView view = memory.layer(layer);
  return {{"file", layer_file_name(layer)},       {"layout_hash", view.layout->hash()},
          {"wire_bytes", view.wire.size()},       {"state_bytes", view.state.size()},
          {"wire_checksum", checksum(view.wire)}, {"state_checksum", checksum(view.state)}};
}

// Of the manifest without its own checksum. Keys are sorted, so equal content is equal text.
uint64_t content_checksum(json manifest) {
  manifest.erase("checksum");
  const std::string text = manifest.dump();
  return checksum(std::as_bytes(std::span(text)));
}

json manifest(const ModelMemory& memory, const CheckpointState& state) {
  json layers = json::array();
  for (int layer = 0; layer < memory.layer_count(); ++layer) layers.push_back(layer_entry(memory, layer));
  const DataIdentity& data = state.data;
  json made = {{"format_version", kFormatVersion},
               {"step", state.progress.step},
               {"update_count", state.progress.update_count},
               {"cursor", {{"epoch", state.cursor.epoch}, {"row", state.cursor.row}}},
               {"data",
                {{"seed", data.seed},
                 {"max_seq_len", data.max_seq_len},
                 {"packing", data.packing},
                 {"documents", data.documents},
                 {"first_epoch_rows", data.first_epoch_rows}}},
               {"state_format", state_format_name(memory.format())},
               {"compute_dtype", state.compute_dtype},
               {"compute_threads", state.compute_threads},
               {"layers", layers}};
  made["checksum"] = content_checksum(made);
  return made;
}

// Runs `parse` on the checkpoint's manifest; what is missing in it or of the wrong type is a bad input.
template <typename Parse>
auto with_manifest(const fs::path& checkpoint, Parse parse) {
  const fs::path path = checkpoint / kManifestName;
  const std::string text = read_text_file(path.string(), kMaxManifestBytes);
  const json manifest = json::parse(text, nullptr, false);
  if (!manifest.is_object()) bad(path, "is not a JSON object; use another checkpoint");
  try {
    const int64_t version = manifest.at("format_version");
    if (version != kFormatVersion) {
      bad(path, fmt::format("has format_version {}, this program reads {}", version, kFormatVersion));
    }
    if (manifest.at("checksum").get<uint64_t>() != content_checksum(manifest)) {
      bad(path, "its checksum differs from its content: the file is damaged; use another checkpoint");
    }
    return parse(manifest);
  } catch (const json::exception& error) {
    bad(path, fmt::format("cannot be understood ({}); use another checkpoint", error.what()));
  }
}

CheckpointState state_of(const json& manifest, const fs::path& checkpoint) {
  const json& cursor = manifest.at("cursor");
  const json& data = manifest.at("data");
  const CheckpointState state = {.progress = {manifest.at("step"), manifest.at("update_count")},
                                 .cursor = {cursor.at("epoch"), cursor.at("row")},
                                 .data = {.seed = data.at("seed"),
                                          .max_seq_len = data.at("max_seq_len"),
                                          .packing = data.at("packing"),
                                          .documents = data.at("documents"),
                                          .first_epoch_rows = data.at("first_epoch_rows")},
                                 .compute_dtype = manifest.at("compute_dtype"),
                                 .compute_threads = manifest.at("compute_threads")};
  const TrainerProgress& progress = state.progress;
  const bool possible = progress.step >= progress.update_count && progress.update_count >= 0 &&
                        state.cursor.epoch >= 0 && state.cursor.row >= 0;
  if (possible) return state;
  bad(checkpoint / kManifestName,
      fmt::format("no run can be at step {} with {} updates and the data cursor at epoch {}, row {}; use another "
                  "checkpoint",
                  progress.step, progress.update_count, state.cursor.epoch, state.cursor.row));
}

// Fills `to` from the file and compares with the manifest's checksum.
void load_part(const fs::path& path, const InputFile& file, uint64_t offset, std::span<std::byte> to,
               uint64_t expected) {
  file.read(offset, to);
  if (checksum(to) == expected) return;
  bad(path, "checksum differs from the manifest's: the file is damaged; use another checkpoint");
}

void load_layer(const fs::path& path, const json& entry, const LayerStateView& view) {
  const uint64_t wire_bytes = entry.at("wire_bytes");
  const uint64_t state_bytes = entry.at("state_bytes");
  if (entry.at("layout_hash").get<uint64_t>() != view.layout->hash() || wire_bytes != view.wire.size()) {
    bad(path,
        "holds a layer of another shape: the configuration's model, or what of it is trained (training.trainable, "
        "finetuning_type, freeze_trainable_layers), differs from the run's; resume with the saved values");
  }
  const InputFile file(path.string());
  if (file.size_bytes() != wire_bytes + state_bytes) bad(path, "has the wrong size; use another checkpoint");
  load_part(path, file, 0, view.wire, entry.at("wire_checksum"));
  if (view.state.empty()) return;
  if (state_bytes != view.state.size()) bad(path, "holds another state format than optimizer.state_format asks for");
  load_part(path, file, wire_bytes, view.state, entry.at("state_checksum"));
}

void load_layers(const json& manifest, const fs::path& checkpoint, ModelMemory& memory) {
  const fs::path path = checkpoint / kManifestName;
  const std::string format = manifest.at("state_format");
  if (format != state_format_name(memory.format())) {
    bad(path, fmt::format("was saved with optimizer.state_format {}, the configuration asks for {}", format,
                          state_format_name(memory.format())));
  }
  const json& layers = manifest.at("layers");
  if (layers.size() != static_cast<size_t>(memory.layer_count())) {
    bad(path, fmt::format("has {} layers, the configuration's model {}", layers.size(), memory.layer_count()));
  }
  for (int layer = 0; layer < memory.layer_count(); ++layer) {
    load_layer(checkpoint / layer_file_name(layer), layers.at(static_cast<size_t>(layer)), memory.layer(layer));
  }
}

void write_folder(const fs::path& folder, const ModelMemory& memory, const CheckpointState& state) {
  for (int layer = 0; layer < memory.layer_count(); ++layer) {
    OutputFile file((folder / layer_file_name(layer)).string());
    file.write(memory.layer(layer).wire);
    file.write(memory.layer(layer).state);
    file.commit();
  }
  write_text_file((folder / kManifestName).string(), manifest(memory, state).dump(1) + "\n");
  sync_directory(folder.string());
}

fs::path marked(const fs::path& folder, std::string_view mark) { return folder.string() + std::string(mark); }

// Gives `folder` its final name. An old folder of that name steps aside first and goes last.
void take_name(const fs::path& folder, const fs::path& name) {
  const fs::path aside = marked(name, kReplacedMark);
  const bool replaces = fs::exists(name);
  if (replaces) {
    fs::remove_all(aside);
    fs::rename(name, aside);
  }
  std::error_code error;
  fs::rename(folder, name, error);
  if (error) {
    if (replaces) fs::rename(aside, name);
    throw fs::filesystem_error("rename", folder, name, error);
  }
  sync_directory(name.parent_path().empty() ? "." : name.parent_path().string());
  if (replaces) fs::remove_all(aside, error);
}

// The manifest goes first: what a crash leaves of the folder is no checkpoint.
void remove_checkpoint(const fs::path& folder, std::error_code& error) {
  fs::remove(folder / kManifestName, error);
  if (!error) fs::remove_all(folder, error);
}

}  // namespace

fs::path save_checkpoint(const fs::path& run_directory, const ModelMemory& memory, const CheckpointState& state) {
  const fs::path final_path = run_directory / fmt::format("{}{}", kPrefix, state.progress.step);
  const fs::path partial = marked(final_path, kPartialMark);
  std::error_code error;
  fs::remove_all(partial, error);
  if (!fs::create_directory(partial, error)) {
    throw Error(ExitCode::kIo, fmt::format("cannot create {}: {}", partial.string(), error.message()));
  }
  try {
    write_folder(partial, memory, state);
    take_name(partial, final_path);
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
  return with_manifest(checkpoint, [&](const json& manifest) { return state_of(manifest, checkpoint); });
}

CheckpointState load_checkpoint(const fs::path& checkpoint, ModelMemory& memory) {
  return with_manifest(checkpoint, [&](const json& manifest) {
    const CheckpointState state = state_of(manifest, checkpoint);
    load_layers(manifest, checkpoint, memory);
    return state;
  });
}

std::optional<int64_t> checkpoint_step(const fs::path& folder) {
  const std::string name = folder.filename().string();
  if (!name.starts_with(kPrefix)) return std::nullopt;
  const std::string_view digits = std::string_view(name).substr(kPrefix.size());
  int64_t step = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), step);
  const bool canonical = digits == std::to_string(step);  // no leading zeros, nothing behind the number
  if (error != std::errc{} || !canonical || step < 0) return std::nullopt;
  return step;
}

bool is_checkpoint(const fs::path& folder) {
  std::error_code ignored;
  return checkpoint_step(folder) && fs::exists(folder / kManifestName, ignored);
}

std::vector<fs::path> checkpoint_folders(const fs::path& run_directory) {
  std::vector<fs::path> found;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(run_directory, error)) {
    std::error_code ignored;
    if (checkpoint_step(entry.path()) && entry.is_directory(ignored)) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end(),
            [](const fs::path& a, const fs::path& b) { return checkpoint_step(a) < checkpoint_step(b); });
  return found;
}

std::vector<fs::path> list_checkpoints(const fs::path& run_directory) {
  std::vector<fs::path> found = checkpoint_folders(run_directory);
  std::erase_if(found, [](const fs::path& folder) { return !is_checkpoint(folder); });
  return found;
}

void remove_old_checkpoints(const fs::path& run_directory, int64_t limit, const fs::path& written) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(run_directory, error)) {
    const std::string name = entry.path().filename().string();
    const bool left_over = name.ends_with(kPartialMark) || name.ends_with(kReplacedMark);
    if (name.starts_with(kPrefix) && left_over) fs::remove_all(entry.path(), error);
  }
  if (limit <= 0) return;
  const std::vector<fs::path> checkpoints = list_checkpoints(run_directory);
  const int64_t surplus = static_cast<int64_t>(checkpoints.size()) - limit;
  for (int64_t i = 0; i < surplus; ++i) {
    const fs::path& oldest = checkpoints[static_cast<size_t>(i)];
    if (oldest.filename() != written.filename()) remove_checkpoint(oldest, error);
  }
}

int remove_checkpoints_after(const fs::path& run_directory, int64_t step) {
  const std::vector<fs::path> folders = checkpoint_folders(run_directory);
  int removed = 0;
  for (auto folder = folders.rbegin(); folder != folders.rend() && *checkpoint_step(*folder) > step; ++folder) {
    std::error_code error;
    remove_checkpoint(*folder, error);
    if (error) throw Error(ExitCode::kIo, fmt::format("cannot remove {}: {}", folder->string(), error.message()));
    ++removed;
  }
  return removed;
}

}  // namespace penstock
