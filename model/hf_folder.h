// A Hugging Face model folder, read: config.json and safetensors weights, single or sharded.
// Not its writer (model/hf_folder_writer.h). No pickle, no code from inputs, no downloads. Tensors are checked against
// the layer layouts by name and shape before the first one is read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/layer_layout.h"
#include "model/model_config.h"
#include "model/safetensors.h"

namespace penstock {

// Reads <path>/config.json. Throws Error(kBadInput) as parse_config_json does.
ModelConfig load_model_config(const std::string& path);

// The text of <path>/config.json.
std::string read_config_json(const std::string& path);

// True where WeightFolder would find weights to open.
bool holds_weights(const std::string& path);

// A tensor in a file that somebody else keeps open.
struct StoredTensor {
  const SafetensorsFile* file;
  const SafetensorsEntry* entry;
};

// The weights of a folder under our names ("model.layers.0...", "lm_head.weight"). A multimodal folder (config.json
// with a text_config) stores them under a prefix and other tensors beside them; any other folder holds exactly the
// model's tensors. Rotary frequency tables, which can be recomputed, are ignored. Where no layer has an lm_head.weight
// the head is tied: the file may hold a copy of it that equals the embedding.
class WeightFolder {
 public:
  // Opens every weight file of the folder and compares its tensors with `layers`. Throws Error(kBadInput) that names
  // the missing, unexpected or mis-shaped tensors. All shards stay open while this lives.
  WeightFolder(const std::string& path, std::span<const LayerLayout> layers);

  // Where a tensor of the model is stored; its dtype is F32, BF16 or F16. CHECKs that it is one of the model's.
  StoredTensor find(std::string_view name) const;

  // Fills `out` with the tensor's values from `first_element` on. Error(kBadInput) where one is not finite. Any number
  // of threads may read.
  void read(std::string_view name, uint64_t first_element, std::span<float> out) const;
  // The stored bytes instead; `out` is a whole number of elements. CHECKs dtype BF16 or F32.
  void read_stored(std::string_view name, uint64_t first_element, std::span<std::byte> out) const;

  // What a multimodal folder holds beside the text model, in the order of the files.
  const std::vector<StoredTensor>& other_tensors() const { return other_tensors_; }

 private:
  void add_file(const std::string& path);
  void open_shards();
  void locate(std::span<const LayerLayout> layers);
  void check_names(std::span<const LayerLayout> layers) const;
  void check_shapes(std::span<const LayerLayout> layers) const;
  void check_tied_head(std::string_view stored_name) const;
  std::string stored_name(std::string_view name) const;
  const StoredTensor* find_stored(std::string_view stored_name) const;

  std::string path_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, StoredTensor, std::less<>> stored_;  // by the files' own names
  bool is_wrapper_ = false;                                  // other tensors are allowed
  std::string body_prefix_ = "model.";                       // what stands in the files for our "model."
  std::string head_name_ = "lm_head.weight";
  std::vector<StoredTensor> other_tensors_;
};

}  // namespace penstock
