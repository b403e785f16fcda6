#include "model/hf_folder_writer.h"

#include <algorithm>
#include <filesystem>
#include <memory>

#include "core/bf16.h"
#include "core/byte_vocabulary.h"
#include "core/check.h"
#include "core/error.h"
#include "core/file.h"
#include "fmt/format.h"
#include "model/byte_tokenizer_files.h"
#include "model/config_json.h"
#include "model/finite_values.h"
#include "model/folder_files.h"
#include "model/folder_in_progress.h"
#include "model/hf_folder.h"
#include "model/safetensors_header.h"
#include "model/weight_files.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

// Without a trailing separator, so that ".tmp" lands beside the folder and not inside it.
fs::path normal_target(const std::string& path) {
  fs::path target = fs::path(path).lexically_normal();
  if (!target.has_filename()) target = target.parent_path();
  if (target.empty() || !target.has_filename() || target.filename() == "." || target.filename() == "..") {
    throw Error(ExitCode::kBadInput, fmt::format("\"{}\" is no name for a new model folder; give one", path));
  }
  return target;
}

template <typename Bits>
bool are_finite(std::span<const std::byte> bytes) {
  return all_finite(std::span(reinterpret_cast<const Bits*>(bytes.data()), bytes.size() / sizeof(Bits)));
}

void require_finite(const TensorSpec& tensor, DType dtype, std::span<const std::byte> bytes) {
  const bool is_good = dtype == DType::kFloat32 ? are_finite<uint32_t>(bytes) : are_finite<bf16_bits>(bytes);
  if (!is_good) {
    throw Error(ExitCode::kNumericStop,
                fmt::format("tensor {} holds a NaN or an infinity; the model is not written. Resume from an earlier "
                            "checkpoint with a lower learning rate",
                            tensor.name));
  }
}

// Everything the weight files hold: the model's tensors in slab order, then what passes through.
class FolderTensors {
 public:
  FolderTensors(std::span<const LayerLayout> layers, DType dtype, const WeightFolder* names) : dtype_(dtype) {
    for (size_t layer = 0; layer < layers.size(); ++layer) {
      for (const TensorPlace& place : layers[layer].tensors()) {
        const std::string name = names == nullptr ? place.spec.name : names->find(place.spec.name).entry->name;
        specs_.push_back({.name = name, .dtype = std::string(safetensors_dtype(dtype)), .shape = place.spec.shape});
        ours_.push_back({.layer = layer, .place = &place});
      }
    }
    if (names == nullptr) return;
    others_ = names->other_tensors();
    for (const StoredTensor& other : others_) {
      specs_.push_back({.name = other.entry->name, .dtype = other.entry->dtype, .shape = other.entry->shape});
    }
  }

  const std::vector<SafetensorsSpec>& specs() const { return specs_; }

  void read(size_t index, uint64_t first_element, std::span<std::byte> out, const LayerTensorSource& source) const {
    if (index < ours_.size()) {
      source(ours_[index].layer, *ours_[index].place, first_element, out);
      require_finite(ours_[index].place->spec, dtype_, out);
      return;
    }
    const StoredTensor& other = others_[index - ours_.size()];
    other.file->read_bytes(*other.entry, first_element * safetensors_element_bytes(other.entry->dtype), out);
  }

 private:
  struct Position {
    size_t layer;
    const TensorPlace* place;
  };
  DType dtype_;
  std::vector<Position> ours_;
  std::vector<StoredTensor> others_;
  std::vector<SafetensorsSpec> specs_;
};

void write_byte_tokenizer(const FolderInProgress& folder, const ModelConfig& config) {
  CHECK_GE(config.vocab_size, kByteVocabularySize);
  write_text_file(folder.file("tokenizer.json"), byte_tokenizer_json());
  write_text_file(folder.file("tokenizer_config.json"), byte_tokenizer_config_json(config.max_position_embeddings));
}

void write_new_files(const FolderInProgress& folder, const ModelConfig& config, const ModelFolderSettings& settings) {
  write_text_file(folder.file("config.json"), config_json_text(config, settings.dtype));
  write_text_file(folder.file("generation_config.json"), generation_config_json_text(config));
  if (settings.tokenizer == TokenizerFiles::kBytes) write_byte_tokenizer(folder, config);
}

void write_source_files(const FolderInProgress& folder, const ModelConfig& config, const ModelFolderSettings& settings,
                        const std::string& config_text) {
  const std::string config_path = (fs::path(settings.source) / "config.json").string();
  write_text_file(folder.file("config.json"), patch_config_json(config_text, config_path, settings.dtype));
  const bool adds_tokenizer = settings.tokenizer == TokenizerFiles::kBytes && tokenizer_file(settings.source).empty();
  for (const std::string& name : unowned_files(settings.source)) {
    // Settings of a tokenizer that is not there would change ours.
    if (adds_tokenizer && is_tokenizer_setting(name)) continue;
    copy_folder_file(settings.source, name, folder.file(name));
  }
  if (adds_tokenizer) write_byte_tokenizer(folder, config);
}

// A multimodal source gives names and the other tensors; null for any other.
std::unique_ptr<WeightFolder> open_source_weights(const std::string& source, const std::string& config_text,
                                                  std::span<const LayerLayout> layers) {
  if (!has_text_config(config_text, (fs::path(source) / "config.json").string())) return nullptr;
  if (!holds_weights(source)) {
    throw Error(ExitCode::kBadInput,
                fmt::format("{}: holds no weights; the tensors beside the text model pass through from the folder the "
                            "model came from: put it back where it was, or give it as model.model_name_or_path",
                            source));
  }
  return std::make_unique<WeightFolder>(source, layers);
}

bool is_flat(const fs::path& folder, std::string_view allowed) {
  const auto is_other_folder = [&](const fs::directory_entry& entry) {
    return entry.is_directory() && entry.path().filename() != allowed;
  };
  return std::none_of(fs::directory_iterator(folder), fs::directory_iterator(), is_other_folder);
}

bool holds_only_a_model(const fs::path& folder) {
  const fs::path templates = folder / kChatTemplateFolder;
  return fs::exists(folder / "config.json") && is_flat(folder, kChatTemplateFolder) &&
         (!fs::is_directory(templates) || is_flat(templates, ""));
}

}  // namespace

void check_model_folder_target(const std::string& path, bool overwrite) {
  const fs::path target = normal_target(path);
  try {
    if (!fs::exists(target)) return;
    if (!fs::is_directory(target)) throw Error(ExitCode::kBadInput, fmt::format("{}: is not a folder", path));
    if (fs::is_empty(target)) return;
    if (!overwrite) {
      throw Error(ExitCode::kBadInput,
                  fmt::format("{}: is there already; choose another name or ask to overwrite it", path));
    }
    if (!holds_only_a_model(target)) {
      throw Error(ExitCode::kBadInput,
                  fmt::format("{}: holds more than a model and is not overwritten; choose another name", path));
    }
  } catch (const fs::filesystem_error& error) {
    throw Error(ExitCode::kIo, fmt::format("{}: cannot look at it: {}", path, error.code().message()));
  }
}

void check_model_folder_source(const std::string& source, std::span<const LayerLayout> layers) {
  open_source_weights(source, read_config_json(source), layers);
}

void write_model_folder(const std::string& path, const ModelConfig& config, std::span<const LayerLayout> layers,
                        const ModelFolderSettings& settings, const LayerTensorSource& source) {
  CHECK(settings.dtype == DType::kFloat32 || settings.dtype == DType::kBFloat16);
  validate(config);
  check_model_folder_target(path, settings.overwrite);
  const std::string config_text = settings.source.empty() ? "" : read_config_json(settings.source);
  std::unique_ptr<WeightFolder> source_weights;
  if (!settings.source.empty()) source_weights = open_source_weights(settings.source, config_text, layers);
  const FolderTensors tensors(layers, settings.dtype, source_weights.get());
  FolderInProgress folder(normal_target(path));
  if (settings.source.empty()) {
    write_new_files(folder, config, settings);
  } else {
    write_source_files(folder, config, settings, config_text);
  }
  write_weight_files(folder.path(), tensors.specs(), settings.max_shard_bytes,
                     [&](size_t index, uint64_t first_element, std::span<std::byte> out) {
                       tensors.read(index, first_element, out, source);
                     });
  folder.commit();
}

}  // namespace penstock
