#include "model/tensor_names.h"

#include <algorithm>
#include <set>

#include "core/error.h"
#include "fmt/format.h"
#include "model/strict_json.h"

namespace penstock {
namespace {

// Every text model of ours has it, whatever its switches.
constexpr std::string_view kMarker = "layers.0.input_layernorm.weight";
constexpr size_t kNamesInMessage = 3;

using NameSet = std::set<std::string_view>;

bool holds_all(const NameSet& stored, std::span<const std::string> wanted, const std::string& prefix) {
  return std::all_of(wanted.begin(), wanted.end(), [&](const std::string& name) {
    return !name.starts_with(kBodyPrefix) || stored.contains(prefix + name.substr(kBodyPrefix.size()));
  });
}

// Beside the body or beside one of the modules around it, never under another tower.
std::string head_of(const NameSet& stored, const std::string& body_prefix) {
  for (std::string_view module = body_prefix;;) {
    const std::string name = std::string(module) + std::string(kHeadName);
    if (stored.contains(name)) return name;
    if (module.empty()) return "";
    const size_t dot = module.substr(0, module.size() - 1).rfind('.');
    module = module.substr(0, dot == std::string_view::npos ? 0 : dot + 1);
  }
}

}  // namespace

TextModelNames find_text_model(std::span<const std::string> stored, std::span<const std::string> wanted,
                               const std::string& where) {
  const NameSet names(stored.begin(), stored.end());
  std::vector<std::string> prefixes;
  size_t marked = 0;
  for (const std::string& name : stored) {
    if (!name.ends_with(kMarker)) continue;
    const std::string prefix = name.substr(0, name.size() - kMarker.size());
    if (!prefix.empty() && !prefix.ends_with('.')) continue;
    ++marked;
    if (holds_all(names, wanted, prefix)) prefixes.push_back(prefix);
  }
  if (prefixes.size() != 1) {
    throw Error(ExitCode::kBadInput,
                prefixes.empty() ? fmt::format("{}: config.json has a text_config but no prefix of the weights' names "
                                               "holds all of its tensors, {} among them ({} found)",
                                               where, list_names(wanted.first(std::min<size_t>(wanted.size(), 2))),
                                               marked == 0 ? "no layer 0" : "only a part")
                                 : fmt::format("{}: the text model could be under {} as well as under {}", where,
                                               printable_name(prefixes[0]), printable_name(prefixes[1])));
  }
  return {.body_prefix = prefixes[0], .head_name = head_of(names, prefixes[0])};
}

std::string list_names(std::span<const std::string> names) {
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kNamesInMessage); ++i) {
    text += (i == 0 ? "" : ", ") + printable_name(names[i]);
  }
  if (names.size() > kNamesInMessage) text += fmt::format(" and {} more", names.size() - kNamesInMessage);
  return text;
}

}  // namespace penstock
