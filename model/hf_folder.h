// A Hugging Face model folder: config.json and safetensors weights, single or sharded, in and out.
// No pickle, no code from inputs, no downloads. Tensors are checked against the layer layouts by name and shape before
// the first one is read; a folder appears complete or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/layer_layout.h"
#include "model/model_config.h"
#include "model/safetensors.h"

namespace penstock {

// Reads <path>/config.json. Throws Error(kBadInput) as parse_config_json does.
ModelConfig load_model_config(const std::string& path);

class WeightFolder {
 public:
  // Opens every weight file of the folder and compares its tensors with `layers`. Throws Error(kBadInput) that names
  // the missing, unexpected or mis-shaped tensors. Rotary frequency tables, which can be recomputed, are ignored.
  WeightFolder(const std::string& path, std::span<const LayerLayout> layers);

  // Fills `out` with the tensor's values from `first_element` on. Error(kBadInput) where one is not finite.
  void read(const TensorSpec& tensor, uint64_t first_element, std::span<float> out) const;

 private:
  struct Location {
    size_t file;
    size_t entry;
  };
  void add_file(const std::string& path);
  void open_shards(const std::string& path, const std::string& index_path);
  void check_shapes(std::span<const LayerLayout> layers) const;
  void check_names(std::span<const LayerLayout> layers) const;
  const SafetensorsEntry& entry(const Location& location) const;

  std::string path_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, Location, std::less<>> locations_;
};

enum class TokenizerFiles { kNone, kBytes };

struct ModelFolderSettings {
  DType dtype = DType::kBFloat16;  // of the weights: kFloat32 or kBFloat16
  TokenizerFiles tokenizer = TokenizerFiles::kNone;
  bool overwrite = false;  // replace a model folder that is already there
};

// Fills `out` with the bytes of a tensor of layer `layer`, in the folder's dtype, from `first_element` on.
using LayerTensorSource =
    std::function<void(size_t layer, const TensorPlace& place, uint64_t first_element, std::span<std::byte> out)>;

// Throws Error(kBadInput) when writing to `path` would replace something that settings.overwrite does not cover: call
// it before a long run. Only a folder with a config.json and without folders inside is ever replaced.
void check_model_folder_target(const std::string& path, bool overwrite);

// Writes config.json, generation_config.json, model.safetensors and the tokenizer's files to "<path>.tmp", durably, and
// renames. A NaN or infinity in the weights is refused: Error(kNumericStop) naming the tensor; nothing is left behind.
void write_model_folder(const std::string& path, const ModelConfig& config, const ModelFolderSettings& settings,
                        const LayerTensorSource& source);

}  // namespace penstock
