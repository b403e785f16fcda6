#include "model/hf_folder.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <filesystem>
#include <set>
#include <system_error>

#include "core/bf16.h"
#include "core/bytes.h"
#include "core/check.h"
#include "core/error.h"
#include "fmt/format.h"
#include "model/config_json.h"
#include "model/finite_values.h"
#include "model/folder_files.h"
#include "model/strict_json.h"
#include "model/tensor_names.h"
#include "model/weight_index.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxConfigBytes = kMiB;
constexpr uint64_t kCompareElements = 64 * 1024;

[[noreturn]] void refuse(const std::string& message) { throw Error(ExitCode::kBadInput, message); }

bool is_recomputed_table(std::string_view name) { return name.ends_with("rotary_emb.inv_freq"); }

bool is_float_type(std::string_view dtype) { return dtype == "F32" || dtype == "BF16" || dtype == "F16"; }

[[noreturn]] void refuse_value(const StoredTensor& tensor, uint64_t element, float value) {
  refuse(fmt::format("{}: tensor {} holds {} at element {}; the weights are damaged", tensor.file->path(),
                     printable_name(tensor.entry->name), value, element));
}

float value_of(uint32_t bits) { return std::bit_cast<float>(bits); }
float value_of(bf16_bits bits) { return float_from_bf16(bits); }

template <typename Bits>
void require_finite(const StoredTensor& tensor, uint64_t first_element, std::span<const std::byte> bytes) {
  const std::span values(reinterpret_cast<const Bits*>(bytes.data()), bytes.size() / sizeof(Bits));
  if (all_finite(values)) return;
  const auto bad = std::find_if_not(values.begin(), values.end(), is_finite<Bits>);
  refuse_value(tensor, first_element + static_cast<uint64_t>(bad - values.begin()), value_of(*bad));
}

// Links count even where they lead nowhere: that is an error of its own. What cannot be looked at is absent.
bool has_entry(const std::string& folder, const char* name) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(fs::path(folder) / name, ignored));
}

std::vector<std::string> names_of(std::span<const LayerLayout> layers) {
  std::vector<std::string> names;
  for (const LayerLayout& layer : layers) {
    for (const TensorPlace& place : layer.tensors()) names.push_back(place.spec.name);
  }
  return names;
}

}  // namespace

std::string read_config_json(const std::string& path) { return read_folder_text(path, "config.json", kMaxConfigBytes); }

ModelConfig load_model_config(const std::string& path) {
  return parse_config_json(read_config_json(path), (fs::path(path) / "config.json").string());
}

bool holds_weights(const std::string& path) {
  return has_entry(path, kWeightsName) || has_entry(path, kWeightIndexName);
}

WeightFolder::WeightFolder(const std::string& path, std::span<const LayerLayout> layers) : path_(path) {
  const bool has_single = has_entry(path, kWeightsName);
  const bool has_index = has_entry(path, kWeightIndexName);
  if (has_single == has_index) {
    refuse(fmt::format("{}: {} model.safetensors {} model.safetensors.index.json; {}", path, has_single ? "both" : "no",
                       has_single ? "and" : "or", has_single ? "remove one" : "only safetensors weights are read"));
  }
  if (has_single) {
    add_file(folder_file(path, kWeightsName));
  } else {
    open_shards();
  }
  locate(layers);
  check_names(layers);
  check_shapes(layers);
}

void WeightFolder::add_file(const std::string& path) {
  files_.emplace_back(path);
  for (const SafetensorsEntry& entry : files_.back().entries()) {
    const auto [position, is_new] = stored_.emplace(entry.name, StoredTensor{&files_.back(), &entry});
    if (!is_new) {
      refuse(fmt::format("{}: tensor {} is also in {}; keep it in one shard", path, printable_name(entry.name),
                         position->second.file->path()));
    }
  }
}

void WeightFolder::open_shards() {
  const std::string index_path = (fs::path(path_) / kWeightIndexName).string();
  const WeightMap weight_map =
      parse_weight_index(read_folder_text(path_, kWeightIndexName, kMaxWeightIndexBytes), index_path);
  std::set<std::string> shard_names;
  for (const auto& [tensor, file] : weight_map) shard_names.insert(file);
  files_.reserve(shard_names.size());  // stored_ points into it
  for (const std::string& name : shard_names) add_file(folder_file(path_, name));
  for (const auto& [tensor, file] : weight_map) {
    const StoredTensor* found = find_stored(tensor);
    if (found == nullptr || fs::path(found->file->path()).filename() != file) {
      refuse(fmt::format("{}: tensor {} is not in {}", index_path, printable_name(tensor), file));
    }
  }
  for (const auto& [tensor, place] : stored_) {
    if (!weight_map.contains(tensor)) {
      refuse(fmt::format("{}: does not list tensor {} of {}", index_path, printable_name(tensor), place.file->path()));
    }
  }
}

const StoredTensor* WeightFolder::find_stored(std::string_view stored_name) const {
  const auto found = stored_.find(stored_name);
  return found == stored_.end() ? nullptr : &found->second;
}

std::string WeightFolder::stored_name(std::string_view name) const {
  if (name == kHeadName) return head_name_;
  CHECK(name.starts_with(kBodyPrefix));
  return body_prefix_ + std::string(name.substr(kBodyPrefix.size()));
}

// Finds the names in the files and what else they hold.
void WeightFolder::locate(std::span<const LayerLayout> layers) {
  const std::vector<std::string> wanted = names_of(layers);
  const std::string config_path = (fs::path(path_) / "config.json").string();
  is_wrapper_ = has_text_config(read_config_json(path_), config_path);
  if (is_wrapper_) {
    std::vector<std::string> names;
    for (const auto& [name, place] : stored_) names.push_back(name);
    const TextModelNames found = find_text_model(names, wanted, path_);
    body_prefix_ = found.body_prefix;
    head_name_ = found.head_name;
  }
  const bool is_tied = std::find(wanted.begin(), wanted.end(), kHeadName) == wanted.end();
  if (is_tied && find_stored(head_name_) != nullptr) check_tied_head(head_name_);
  if (!is_wrapper_) return;
  std::set<std::string, std::less<>> ours = {head_name_};
  for (const std::string& name : wanted) ours.insert(stored_name(name));
  for (const SafetensorsFile& file : files_) {
    for (const SafetensorsEntry& entry : file.entries()) {
      if (!ours.contains(entry.name)) other_tensors_.push_back({&file, &entry});
    }
  }
}

void WeightFolder::check_names(std::span<const LayerLayout> layers) const {
  std::vector<std::string> missing;
  std::set<std::string, std::less<>> expected = {head_name_};
  for (const std::string& name : names_of(layers)) {
    expected.insert(stored_name(name));
    if (find_stored(stored_name(name)) == nullptr) missing.push_back(name);
  }
  std::vector<std::string> unexpected;
  for (const auto& [name, place] : stored_) {
    if (!is_wrapper_ && !expected.contains(name) && !is_recomputed_table(name)) unexpected.push_back(name);
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
      const StoredTensor found = find(place.spec.name);
      const std::string& file = found.file->path();
      if (found.entry->shape != place.spec.shape) {
        refuse(fmt::format("{}: tensor {} has shape {} but config.json asks for {}", file,
                           printable_name(found.entry->name), format_shape(found.entry->shape),
                           format_shape(place.spec.shape)));
      }
      if (!is_float_type(found.entry->dtype)) {
        refuse(fmt::format("{}: tensor {} is {}; convert it to F32, BF16 or F16", file,
                           printable_name(found.entry->name), found.entry->dtype));
      }
    }
  }
}

// Some writers store the tied head as a second copy. One that differs was trained untied: taking either would change
// the model.
void WeightFolder::check_tied_head(std::string_view head_name) const {
  const StoredTensor head = *find_stored(head_name);
  const StoredTensor* embedding = find_stored(stored_name("model.embed_tokens.weight"));
  if (embedding == nullptr) return;  // reported as missing
  bool is_equal = head.entry->shape == embedding->entry->shape && is_float_type(head.entry->dtype) &&
                  is_float_type(embedding->entry->dtype);
  std::vector<float> a(kCompareElements), b(kCompareElements);
  for (uint64_t done = 0; is_equal && done < head.entry->element_count;) {
    const uint64_t count = std::min(kCompareElements, head.entry->element_count - done);
    head.file->read_floats(*head.entry, done, std::span(a).first(count));
    embedding->file->read_floats(*embedding->entry, done, std::span(b).first(count));
    is_equal = std::memcmp(a.data(), b.data(), count * sizeof(float)) == 0;
    done += count;
  }
  if (!is_equal) {
    refuse(
        fmt::format("{}: tie_word_embeddings is true in config.json but {} differs from the embedding; set it to "
                    "false, or remove that tensor",
                    head.file->path(), printable_name(std::string(head_name))));
  }
}

StoredTensor WeightFolder::find(std::string_view name) const {
  const StoredTensor* found = find_stored(stored_name(name));
  CHECK(found != nullptr);  // the constructor has seen every tensor of the model
  return *found;
}

void WeightFolder::read(std::string_view name, uint64_t first_element, std::span<float> out) const {
  const StoredTensor tensor = find(name);
  tensor.file->read_floats(*tensor.entry, first_element, out);
  require_finite<uint32_t>(tensor, first_element, std::as_bytes(out));
}

void WeightFolder::read_stored(std::string_view name, uint64_t first_element, std::span<std::byte> out) const {
  const StoredTensor tensor = find(name);
  const bool is_narrow = tensor.entry->dtype == "BF16";
  CHECK(is_narrow || tensor.entry->dtype == "F32");
  const uint64_t width = is_narrow ? sizeof(bf16_bits) : sizeof(float);
  tensor.file->read_bytes(*tensor.entry, first_element * width, out);
  if (is_narrow) {
    require_finite<bf16_bits>(tensor, first_element, out);
  } else {
    require_finite<uint32_t>(tensor, first_element, out);
  }
}

}  // namespace penstock
