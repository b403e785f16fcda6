// A model folder out of loose tensors, for folders that our writer would never write: every tensor's name, type, shape,
// shard and bytes can be chosen.
#pragma once

#include <cstring>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/bf16.h"
#include "core/byte_vocabulary.h"
#include "expect_error.h"
#include "model/config_json.h"
#include "model/hf_folder.h"
#include "model/layer_specs.h"
#include "model/safetensors_header.h"
#include "model/safetensors_writer.h"
#include "nlohmann/json.hpp"
#include "temporary_folder.h"

namespace penstock {

inline ModelConfig tiny_config() {
  ModelConfig config;
  config.vocab_size = 263;
  config.hidden_size = 24;
  config.intermediate_size = 40;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 6;
  config.num_key_value_heads = 2;
  config.head_dim = 4;
  config.bos_token_id = kByteBos;
  config.eos_token_ids = {kByteEos};
  config.pad_token_id = kBytePad;
  return config;
}

struct LooseTensor {
  std::vector<int64_t> shape;
  std::string dtype = "BF16";
  float value = 0.5f;  // of every element, where the type is F32 or BF16
  std::string shard = "model.safetensors";
};

class LooseFolder {
 public:
  explicit LooseFolder(const ModelConfig& config = tiny_config()) : config_(config) {
    for (const LayerLayout& layout : layer_layouts(config)) {
      for (const TensorPlace& place : layout.tensors()) tensors[place.spec.name] = {.shape = place.spec.shape};
    }
    folder.write("config.json", config_json_text(config, DType::kBFloat16));
  }

  std::string path() const { return folder.path(""); }

  // Every shard's file; nothing for an index.
  void write_weights() const {
    std::map<std::string, std::vector<SafetensorsSpec>> shards;
    for (const auto& [name, tensor] : tensors) {
      shards[tensor.shard].push_back({.name = name, .dtype = tensor.dtype, .shape = tensor.shape});
    }
    for (const auto& [file, specs] : shards) {
      write_safetensors(folder.path(file), specs, [&, &specs = specs](size_t index, uint64_t, auto out) {
        fill(tensors.at(specs[index].name), out);
      });
    }
  }
  // Blocks in one shard, the ends in another.
  void use_two_shards() {
    for (auto& [name, tensor] : tensors) {
      tensor.shard = name.find("layers") == std::string::npos ? "ends.safetensors" : "blocks.safetensors";
    }
  }
  std::map<std::string, std::string> weight_map() const {
    std::map<std::string, std::string> files;
    for (const auto& [name, tensor] : tensors) files[name] = tensor.shard;
    return files;
  }
  void write_index(const nlohmann::json& weight_map) const {
    const nlohmann::json root = {{"metadata", nlohmann::json::object()}, {"weight_map", weight_map}};
    folder.write("model.safetensors.index.json", root.dump());
  }
  // Puts `prefix` in front of every name, or in place of "model." where `old_prefix` is given.
  void rename(const std::string& old_prefix, const std::string& prefix) {
    std::map<std::string, LooseTensor> renamed;
    for (auto& [name, tensor] : tensors) {
      renamed[name.starts_with(old_prefix) ? prefix + name.substr(old_prefix.size()) : name] = tensor;
    }
    tensors = std::move(renamed);
  }
  void open() const { WeightFolder weights(path(), layer_layouts(config_)); }
  void expect_refused(const std::vector<std::string>& parts) const {
    expect_error(ExitCode::kBadInput, parts, [&] { open(); });
  }

  TemporaryFolder folder;
  std::map<std::string, LooseTensor> tensors;

 private:
  static void fill(const LooseTensor& tensor, std::span<std::byte> out) {
    const uint16_t bits = bf16_from_float(tensor.value);
    for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::byte>(i * 7);
    for (size_t i = 0; tensor.dtype == "BF16" && i < out.size(); i += 2) std::memcpy(&out[i], &bits, 2);
    for (size_t i = 0; tensor.dtype == "F32" && i < out.size(); i += 4) std::memcpy(&out[i], &tensor.value, 4);
  }

  ModelConfig config_;
};

}  // namespace penstock
