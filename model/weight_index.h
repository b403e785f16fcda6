// model.safetensors.index.json: which shard holds which tensor. Text in, text out; opens no file.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace penstock {

// What transformers calls one file of weights, and the index of several.
inline constexpr const char* kWeightsName = "model.safetensors";
inline constexpr const char* kWeightIndexName = "model.safetensors.index.json";
// A few hundred thousand tensors; the largest published model has under a hundred thousand.
inline constexpr uint64_t kMaxWeightIndexBytes = uint64_t{64} << 20;

// Tensor name -> name of a .safetensors file in the same folder.
using WeightMap = std::map<std::string, std::string>;

// Throws Error(kBadInput) that opens with `where`: broken JSON, no or an empty weight_map, an entry that is no plain
// name of a .safetensors file.
WeightMap parse_weight_index(std::string_view text, const std::string& where);

// `total_bytes` of all tensors, as transformers writes it into metadata.total_size.
std::string weight_index_text(const WeightMap& files, uint64_t total_bytes);

}  // namespace penstock
