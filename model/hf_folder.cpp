#include "model/hf_folder.h"

#include <algorithm>
#include <bit>
#include <filesystem>
#include <set>
#include <system_error>

#include "core/bytes.h"
#include "core/check.h"
#include "core/error.h"
#include "core/file.h"
#include "fmt/format.h"
#include "model/config_json.h"
#include "model/strict_json.h"
#include "nlohmann/json.hpp"

namespace penstock {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxConfigBytes = kMiB;
// A few hundred thousand tensors; the largest published model has under a hundred thousand.
constexpr uint64_t kMaxIndexBytes = 64 * kMiB;
constexpr size_t kNamesInMessage = 3;

[[noreturn]] void refuse(const std::string& message) { throw Error(ExitCode::kBadInput, message); }

// "a, b, c and 4 more".
std::string list_names(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kNamesInMessage); ++i) text += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > kNamesInMessage) text += fmt::format(" and {} more", names.size() - kNamesInMessage);
  return text;
}

// Entries of the index are names of files beside it, never paths that lead elsewhere.
bool is_plain_base_name(const std::string& name) {
  return name.ends_with(".safetensors") && name.find_first_of(std::string("/\\\0", 3)) == std::string::npos;
}

bool is_recomputed_table(std::string_view name) { return name.ends_with("rotary_emb.inv_freq"); }

// Tensor name -> file name.
std::map<std::string, std::string> read_weight_map(const std::string& index_path) {
  const nlohmann::json root = parse_strict_json(read_text_file(index_path, kMaxIndexBytes), index_path);
  if (!root.is_object() || !root.contains("weight_map") || !root["weight_map"].is_object()) {
    refuse(fmt::format("{}: has no weight_map object", index_path));
  }
  std::map<std::string, std::string> files;
  for (const auto& [tensor, file] : root["weight_map"].items()) {
    if (!file.is_string() || !is_plain_base_name(file.get<std::string>())) {
      refuse(fmt::format("{}: weight_map {} names {}; it must be a .safetensors file in the same folder", index_path,
                         json_excerpt(tensor), json_excerpt(file)));
    }
    files.emplace(tensor, file.get<std::string>());
  }
  if (files.empty()) refuse(fmt::format("{}: weight_map is empty", index_path));
  return files;
}

}  // namespace

ModelConfig load_model_config(const std::string& path) {
  const std::string file = (fs::path(path) / "config.json").string();
  return parse_config_json(read_text_file(file, kMaxConfigBytes), file);
}

WeightFolder::WeightFolder(const std::string& path, std::span<const LayerLayout> layers) : path_(path) {
  const std::string single = (fs::path(path) / "model.safetensors").string();
  const std::string index = single + ".index.json";
  std::error_code ignored;  // what cannot be looked at is reported as absent
  const bool has_single = fs::exists(single, ignored);
  const bool has_index = fs::exists(index, ignored);
  if (has_single == has_index) {
    refuse(fmt::format("{}: {} model.safetensors {} model.safetensors.index.json; {}", path, has_single ? "both" : "no",
                       has_single ? "and" : "or", has_single ? "remove one" : "only safetensors weights are read"));
  }
  if (has_single) {
    add_file(single);
  } else {
    open_shards(path, index);
  }
  check_names(layers);
  check_shapes(layers);
}

void WeightFolder::add_file(const std::string& path) {
  const size_t file = files_.size();
  files_.emplace_back(path);
  const std::vector<SafetensorsEntry>& entries = files_.back().entries();
  for (size_t i = 0; i < entries.size(); ++i) {
    const auto [position, is_new] = locations_.emplace(entries[i].name, Location{.file = file, .entry = i});
    if (!is_new) {
      refuse(fmt::format("{}: tensor {} is also in {}; keep it in one shard", path, entries[i].name,
                         files_[position->second.file].path()));
    }
  }
}

void WeightFolder::open_shards(const std::string& path, const std::string& index_path) {
  const std::map<std::string, std::string> weight_map = read_weight_map(index_path);
  std::set<std::string> shard_names;
  for (const auto& [tensor, file] : weight_map) shard_names.insert(file);
  for (const std::string& name : shard_names) add_file((fs::path(path) / name).string());
  for (const auto& [tensor, file] : weight_map) {
    const auto found = locations_.find(tensor);
    if (found == locations_.end() || fs::path(files_[found->second.file].path()).filename() != file) {
      refuse(fmt::format("{}: tensor {} is not in {}", index_path, tensor, file));
    }
  }
  for (const auto& [tensor, location] : locations_) {
    if (!weight_map.contains(tensor)) {
      refuse(fmt::format("{}: does not list tensor {} of {}", index_path, tensor, files_[location.file].path()));
    }
  }
}

void WeightFolder::check_names(std::span<const LayerLayout> layers) const {
  std::vector<std::string> missing;
  std::set<std::string, std::less<>> expected;
  for (const LayerLayout& layer : layers) {
    for (const TensorPlace& place : layer.tensors()) {
      expected.insert(place.spec.name);
      if (!locations_.contains(place.spec.name)) missing.push_back(place.spec.name);
    }
  }
  std::vector<std::string> unexpected;
  for (const auto& [name, location] : locations_) {
    if (!expected.contains(name) && !is_recomputed_table(name)) unexpected.push_back(name);
  }
  if (missing.empty() && unexpected.empty()) return;
  std::string text = path_ + ": the weights do not fit config.json:";
  if (!missing.empty()) text += fmt::format(" missing {}", list_names(missing));
  if (!unexpected.empty()) text += fmt::format("{} unexpected {}", missing.empty() ? "" : ";", list_names(unexpected));
  refuse(text);
}

void WeightFolder::check_shapes(std::span<const LayerLayout> layers) const {
  for (const LayerLayout& layer : layers) {
    for (const TensorPlace& place : layer.tensors()) {
      const Location& location = locations_.find(place.spec.name)->second;
      const SafetensorsEntry& found = entry(location);
      const std::string& file = files_[location.file].path();
      if (found.shape != place.spec.shape) {
        refuse(fmt::format("{}: tensor {} has shape {} but config.json asks for {}", file, found.name,
                           format_shape(found.shape), format_shape(place.spec.shape)));
      }
      if (found.dtype != "F32" && found.dtype != "BF16" && found.dtype != "F16") {
        refuse(fmt::format("{}: tensor {} is {}; convert it to F32, BF16 or F16", file, found.name, found.dtype));
      }
    }
  }
}

const SafetensorsEntry& WeightFolder::entry(const Location& location) const {
  return files_[location.file].entries()[location.entry];
}

void WeightFolder::read(const TensorSpec& tensor, uint64_t first_element, std::span<float> out) const {
  const auto found = locations_.find(tensor.name);
  CHECK(found != locations_.end());  // the constructor has seen every tensor of the model
  const SafetensorsFile& file = files_[found->second.file];
  file.read_floats(entry(found->second), first_element, out);
  const auto bad = std::find_if(out.begin(), out.end(), [](float value) {
    return (std::bit_cast<uint32_t>(value) & 0x7f800000u) == 0x7f800000u;
  });
  if (bad != out.end()) {
    refuse(fmt::format("{}: tensor {} holds {} at element {}; the weights are damaged", file.path(), tensor.name, *bad,
                       first_element + static_cast<uint64_t>(bad - out.begin())));
  }
}

}  // namespace penstock
