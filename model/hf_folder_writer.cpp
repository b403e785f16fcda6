#include <algorithm>
#include <filesystem>
#include <system_error>

#include "core/byte_vocabulary.h"
#include "core/check.h"
#include "core/error.h"
#include "core/file.h"
#include "fmt/format.h"
#include "model/byte_tokenizer_files.h"
#include "model/config_json.h"
#include "model/hf_folder.h"
#include "model/layer_specs.h"
#include "model/safetensors_writer.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

// A folder under a temporary name that becomes `target` or vanishes.
class FolderInProgress {
 public:
  explicit FolderInProgress(const fs::path& target) : target_(target), temporary_(target.string() + ".tmp") {
    std::error_code code;
    fs::remove_all(temporary_, code);  // left by a run that was killed
    if (!code) fs::create_directories(temporary_, code);
    require(code, "create", temporary_);
  }
  ~FolderInProgress() {
    std::error_code ignored;
    fs::remove_all(temporary_, ignored);
  }
  FolderInProgress(const FolderInProgress&) = delete;
  FolderInProgress& operator=(const FolderInProgress&) = delete;

  std::string file(const char* name) const { return (temporary_ / name).string(); }

  // The folder that was there before steps aside first: the name never holds a mixture.
  void commit() {
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

 private:
  static void require(const std::error_code& code, const char* action, const fs::path& path) {
    if (code) throw Error(ExitCode::kIo, fmt::format("{}: cannot {}: {}", path.string(), action, code.message()));
  }

  fs::path target_;
  fs::path temporary_;
};

// Without a trailing separator, so that ".tmp" lands beside the folder and not inside it.
fs::path normal_target(const std::string& path) {
  fs::path target = fs::path(path).lexically_normal();
  if (!target.has_filename()) target = target.parent_path();
  if (target.empty() || !target.has_filename() || target.filename() == "." || target.filename() == "..") {
    throw Error(ExitCode::kBadInput, fmt::format("\"{}\" is no name for a new model folder; give one", path));
  }
  return target;
}

// In the weights' own bits: NaN and infinity have all ones in the exponent.
template <typename Bits>
bool has_non_finite(std::span<const std::byte> bytes, Bits exponent_mask) {
  const std::span values(reinterpret_cast<const Bits*>(bytes.data()), bytes.size() / sizeof(Bits));
  return std::any_of(values.begin(), values.end(),
                     [=](Bits value) { return (value & exponent_mask) == exponent_mask; });
}

void require_finite(const TensorSpec& tensor, DType dtype, std::span<const std::byte> bytes) {
  const bool is_bad = dtype == DType::kFloat32 ? has_non_finite<uint32_t>(bytes, 0x7f800000u)
                                               : has_non_finite<uint16_t>(bytes, 0x7f80u);
  if (is_bad) {
    throw Error(ExitCode::kNumericStop,
                fmt::format("tensor {} holds a NaN or an infinity; the model is not written. Resume from an earlier "
                            "checkpoint with a lower learning rate",
                            tensor.name));
  }
}

void write_weights(const std::string& path, const ModelConfig& config, DType dtype, const LayerTensorSource& source) {
  const std::vector<LayerLayout> layers = layer_layouts(config);
  struct Position {
    size_t layer;
    const TensorPlace* place;
  };
  std::vector<Position> positions;
  std::vector<SafetensorsSpec> specs;
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    for (const TensorPlace& place : layers[layer].tensors()) {
      positions.push_back({.layer = layer, .place = &place});
      specs.push_back({.name = place.spec.name, .dtype = dtype, .shape = place.spec.shape});
    }
  }
  write_safetensors(path, specs, [&](size_t index, uint64_t first_element, std::span<std::byte> out) {
    const Position& position = positions[index];
    source(position.layer, *position.place, first_element, out);
    require_finite(position.place->spec, dtype, out);
  });
}

bool holds_only_a_model(const fs::path& folder) {
  const auto is_folder = [](const fs::directory_entry& entry) { return entry.is_directory(); };
  return fs::exists(folder / "config.json") &&
         std::none_of(fs::directory_iterator(folder), fs::directory_iterator(), is_folder);
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

void write_model_folder(const std::string& path, const ModelConfig& config, const ModelFolderSettings& settings,
                        const LayerTensorSource& source) {
  CHECK(settings.dtype == DType::kFloat32 || settings.dtype == DType::kBFloat16);
  validate(config);
  check_model_folder_target(path, settings.overwrite);
  FolderInProgress folder(normal_target(path));
  write_text_file(folder.file("config.json"), config_json_text(config, settings.dtype));
  write_text_file(folder.file("generation_config.json"), generation_config_json_text(config));
  if (settings.tokenizer == TokenizerFiles::kBytes) {
    CHECK_GE(config.vocab_size, kByteVocabularySize);
    write_text_file(folder.file("tokenizer.json"), byte_tokenizer_json());
    write_text_file(folder.file("tokenizer_config.json"), byte_tokenizer_config_json(config.max_position_embeddings));
  }
  write_weights(folder.file("model.safetensors"), config, settings.dtype, source);
  folder.commit();
}

}  // namespace penstock
