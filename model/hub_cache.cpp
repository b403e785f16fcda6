#include "model/hub_cache.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>

#include "core/error.h"
#include "fmt/format.h"
#include "model/folder_files.h"
#include "model/strict_json.h"
#include "model/weight_index.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

// The hub's own limits are tighter; a path must stay a path.
constexpr size_t kMaxNameCharacters = 96;
constexpr size_t kMaxRevisionCharacters = 256;

struct HubModel {
  std::string id;        // "org/name" or "name"
  std::string revision;  // empty: main
};

bool is_plain(char character) {
  return (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z') ||
         (character >= '0' && character <= '9') || character == '-' || character == '_' || character == '.';
}

// One part of a path of letters, digits, '-', '_' and '.', that is no "." or "..".
bool is_part(std::string_view part) {
  return !part.empty() && part != "." && part != ".." && std::all_of(part.begin(), part.end(), is_plain);
}

// Parts between slashes.
bool are_parts(std::string_view name, size_t max_parts) {
  size_t parts = 0;
  while (true) {
    const size_t slash = name.find('/');
    if (++parts > max_parts || !is_part(name.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    name.remove_prefix(slash + 1);
  }
}

// The hub takes no name that begins or ends with '-' or '.'; the command we print would take one for an option.
bool is_hub_id(std::string_view id) {
  if (id.size() > kMaxNameCharacters || !are_parts(id, 2)) return false;
  for (const std::string_view reserved : {"--", "..", "/-", "/.", "-/", "./"}) {  // "--" stands for '/' in the cache
    if (id.find(reserved) != std::string_view::npos) return false;
  }
  const auto is_edge = [](char character) { return character != '-' && character != '.'; };
  return is_edge(id.front()) && is_edge(id.back());
}

std::optional<HubModel> parse_hub_id(const std::string& text) {
  const size_t at = text.find('@');
  const HubModel model{text.substr(0, at), at == std::string::npos ? "" : text.substr(at + 1)};
  if (!is_hub_id(model.id)) return std::nullopt;
  if (at == std::string::npos) return model;
  // A branch may hold slashes ("refs/pr/1").
  const bool is_option = model.revision.starts_with('-');
  if (is_option || model.revision.size() > kMaxRevisionCharacters || !are_parts(model.revision, 8)) return std::nullopt;
  return model;
}

// The order in which huggingface_hub asks.
std::string cache_folder(const EnvironmentLookup& environment) {
  for (const auto& [variable, rest] :
       {std::pair{"HF_HUB_CACHE", ""}, std::pair{"HUGGINGFACE_HUB_CACHE", ""}, std::pair{"HF_HOME", "/hub"},
        std::pair{"XDG_CACHE_HOME", "/huggingface/hub"}, std::pair{"HOME", "/.cache/huggingface/hub"}}) {
    const std::string value = environment(variable);
    if (value.empty()) continue;
    return (value.starts_with("~/") ? environment("HOME") + value.substr(1) : value) + rest;
  }
  throw Error(ExitCode::kBadInput, "hub cache: neither HF_HOME nor HOME is set; set one, or name a model folder");
}

class Snapshot {
 public:
  Snapshot(HubModel model, const std::string& cache) : model_(std::move(model)), cache_(cache) {
    std::string folder = "models--" + model_.id;
    if (const size_t slash = folder.find('/'); slash != std::string::npos) folder.replace(slash, 1, "--");
    repository_ = fs::path(cache) / folder;
  }

  // The folder of the snapshot, complete.
  std::string resolve() const {
    std::error_code ignored;
    if (!fs::is_directory(repository_, ignored)) refuse("is not in the hub cache " + cache_);
    const fs::path snapshot = repository_ / "snapshots" / commit();
    if (!fs::is_directory(snapshot, ignored)) {
      refuse(fmt::format("has no {}", snapshot.string()));
    }
    check_complete(snapshot);
    return snapshot.string();
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    const std::string revision = model_.revision.empty() ? "" : " --revision " + model_.revision;
    const std::string asked = model_.revision.empty() ? "" : "@" + model_.revision;
    throw Error(ExitCode::kBadInput,
                fmt::format("model {}{} {}, and is no folder here; fetch it with: hf download {}{}", model_.id, asked,
                            what, model_.id, revision));
  }

  // refs/<revision> holds a commit; a revision without a ref is a commit itself.
  std::string commit() const {
    const std::string revision = model_.revision.empty() ? "main" : model_.revision;
    const fs::path ref = repository_ / "refs" / revision;
    std::error_code ignored;
    if (!fs::is_regular_file(ref, ignored)) {
      if (revision != "main" && is_part(revision)) return revision;
      refuse(fmt::format("has no {}", ref.string()));
    }
    std::string commit(kMaxRevisionCharacters + 1, '\0');
    std::ifstream stream(ref, std::ios::binary);
    stream.read(commit.data(), static_cast<std::streamsize>(commit.size()));
    commit.resize(static_cast<size_t>(stream.gcount()));
    if (commit.ends_with('\n')) commit.pop_back();
    if (commit.size() > kMaxRevisionCharacters || !is_part(commit)) {
      refuse(fmt::format("has a damaged {} ({})", ref.string(), printable_name(commit)));
    }
    return commit;
  }

  // A download that was cut off leaves files out, or links to nothing.
  void check_complete(const fs::path& snapshot) const {
    const auto holds = [&](const std::string& file) {
      std::error_code ignored;
      return fs::is_regular_file(snapshot / file, ignored);
    };
    const auto require = [&](const std::string& file) {
      if (!holds(file)) refuse(fmt::format("lacks {} in {}", printable_name(file), snapshot.string()));
    };
    require("config.json");
    if (holds(kWeightsName)) return;
    if (holds(kWeightIndexName)) {
      for (const auto& [tensor, shard] : read_index(snapshot)) require(shard);
      return;
    }
    for (const char* pickled : {"pytorch_model.bin", "pytorch_model.bin.index.json"}) {
      if (holds(pickled)) refuse_pickled(snapshot, pickled);
    }
    require(kWeightsName);
  }

  // Fetching again would bring the same files.
  [[noreturn]] void refuse_pickled(const fs::path& snapshot, const char* name) const {
    throw Error(ExitCode::kBadInput,
                fmt::format("model {} has {} and no {} in {}; only safetensors weights are read: save it once with "
                            "transformers: AutoModelForCausalLM.from_pretrained(\"{}\").save_pretrained(FOLDER)",
                            model_.id, name, kWeightsName, snapshot.string(), model_.id));
  }

  WeightMap read_index(const fs::path& snapshot) const {
    try {
      return parse_weight_index(read_folder_text(snapshot.string(), kWeightIndexName, kMaxWeightIndexBytes),
                                (snapshot / kWeightIndexName).string());
    } catch (const Error& error) {
      refuse(fmt::format("is damaged in the hub cache ({})", error.what()));
    }
  }

  HubModel model_;
  std::string cache_;
  fs::path repository_;
};

}  // namespace

EnvironmentLookup process_environment() {
  return [](const char* name) -> std::string {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
  };
}

std::string resolve_model_path(const std::string& name_or_path, const EnvironmentLookup& environment) {
  std::error_code ignored;
  if (fs::is_directory(name_or_path, ignored)) return name_or_path;
  std::optional<HubModel> model = parse_hub_id(name_or_path);
  if (!model) {
    throw Error(ExitCode::kBadInput,
                fmt::format("model {} is neither a folder nor a hub id such as Qwen/Qwen3-4B; give one of them",
                            printable_name(name_or_path)));
  }
  return Snapshot(std::move(*model), cache_folder(environment)).resolve();
}

}  // namespace penstock
