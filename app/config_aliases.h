// Names that other trainers use for our keys: LLaMA-Factory, Hugging Face, Axolotl, MegaTrain, llm.c.
// Each is accepted with one warning. Only names whose values mean the same thing here are listed.
#pragma once

#include <span>
#include <string_view>

namespace penstock {

struct ConfigAlias {
  std::string_view name;       // a leaf, or "section.leaf" where the leaf alone would say too little
  std::string_view full_name;  // "section.key"
};

std::span<const ConfigAlias> config_aliases();

// The full name of the key that `name` (of `section`, which may be empty) stands for; empty if it is no alias.
std::string_view resolve_alias(std::string_view section, std::string_view name);

}  // namespace penstock
