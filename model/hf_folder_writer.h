// A Hugging Face model folder, written: from scratch, or as the folder the model came from with new weights.
// Not its reader (model/hf_folder.h). A folder appears complete or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "core/dtype.h"
#include "core/layer_layout.h"
#include "model/model_config.h"

namespace penstock {

enum class TokenizerFiles { kNone, kBytes };

// What transformers' save_pretrained takes by default was 5 GB for years; hubs are full of it.
inline constexpr uint64_t kDefaultShardBytes = 5'000'000'000;

struct ModelFolderSettings {
  DType dtype = DType::kBFloat16;                    // of the weights: kFloat32 or kBFloat16
  TokenizerFiles tokenizer = TokenizerFiles::kNone;  // where the source has no tokenizer of its own
  bool overwrite = false;                            // replace a model folder that is already there
  std::string source = {};                           // the folder the model came from, or its small files; empty: none
  uint64_t max_shard_bytes = kDefaultShardBytes;  // tensors of a shard together; a larger tensor is alone in its shard
};

// Fills `out` with the bytes of a tensor of layer `layer`, in the folder's dtype, from `first_element` on.
using LayerTensorSource =
    std::function<void(size_t layer, const TensorPlace& place, uint64_t first_element, std::span<std::byte> out)>;

// Throws Error(kBadInput) when writing to `path` would replace something that settings.overwrite does not cover: call
// it before a long run. Only a folder with a config.json and no folder inside but additional chat templates is ever
// replaced.
void check_model_folder_target(const std::string& path, bool overwrite);

// Throws Error(kBadInput) where write_model_folder() would find that `source` lacks what is needed for a model of
// `layers`: call it before a long run.
void check_model_folder_source(const std::string& source, std::span<const LayerLayout> layers);

// Writes config.json, weights (one file, or shards and their index) and the files beside them to "<path>.tmp", durably,
// and renames. `layers` are those of `config`. With a source: its config.json with only the changed keys patched, every
// file of it that is not ours, its names of the tensors, and the tensors of a multimodal folder that are not the text
// model's, byte for byte. Throws Error(kBadInput) where the source lacks what is needed, Error(kNumericStop) naming a
// tensor with a NaN or infinity; nothing is left behind.
void write_model_folder(const std::string& path, const ModelConfig& config, std::span<const LayerLayout> layers,
                        const ModelFolderSettings& settings, const LayerTensorSource& source);

}  // namespace penstock
