#include "model/weight_index.h"

#include "core/error.h"
#include "fmt/format.h"
#include "model/folder_files.h"
#include "model/strict_json.h"
#include "nlohmann/json.hpp"

namespace penstock {

WeightMap parse_weight_index(std::string_view text, const std::string& where) {
  const nlohmann::json root = parse_strict_json(text, where);
  if (!root.is_object() || !root.contains("weight_map") || !root["weight_map"].is_object()) {
    throw Error(ExitCode::kBadInput, fmt::format("{}: has no weight_map object", where));
  }
  WeightMap files;
  for (const auto& [tensor, file] : root["weight_map"].items()) {
    if (!file.is_string() || !is_plain_name(file.get_ref<const std::string&>()) ||
        !file.get_ref<const std::string&>().ends_with(".safetensors")) {
      throw Error(ExitCode::kBadInput, fmt::format("{}: weight_map {} names {}; it must be a .safetensors file in the "
                                                   "same folder",
                                                   where, json_excerpt(tensor), json_excerpt(file)));
    }
    files.emplace(tensor, file.get<std::string>());
  }
  if (files.empty()) throw Error(ExitCode::kBadInput, fmt::format("{}: weight_map is empty", where));
  return files;
}

std::string weight_index_text(const WeightMap& files, uint64_t total_bytes) {
  nlohmann::ordered_json root;
  root["metadata"] = {{"total_size", total_bytes}};
  root["weight_map"] = files;
  return root.dump(2) + "\n";
}

}  // namespace penstock
