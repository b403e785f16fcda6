// Where the text model's tensors hide among a multimodal folder's: "language_model.model.layers.0..." and the like.
// Names only; opens no file.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

inline constexpr std::string_view kBodyPrefix = "model.";
inline constexpr std::string_view kHeadName = "lm_head.weight";

struct TextModelNames {
  std::string body_prefix;  // stands for "model."
  std::string head_name;    // stands for "lm_head.weight"; empty where there is none
};

// `stored`: every name in the files; `wanted`: the model's. The prefix is one under which all of `wanted` are stored.
// Throws Error(kBadInput) that opens with `where` if there is none, or more than one.
TextModelNames find_text_model(std::span<const std::string> stored, std::span<const std::string> wanted,
                               const std::string& where);

// "a, b, c and 4 more", each name fit for a message.
std::string list_names(std::span<const std::string> names);

}  // namespace penstock
