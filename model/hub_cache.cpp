#include "model/hub_cache.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>

#include "core/error.h"
#include "fmt/format.h"
#include "model/strict_json.h"
#include "nlohmann/json.hpp"

namespace penstock {
namespace {

namespace fs = std::filesystem;

// The hub's own limits are tighter; a path must stay a path.
constexpr size_t kMaxNameCharacters = 96;
constexpr size_t kMaxRevisionCharacters = 256;
constexpr size_t kMaxIndexBytes = size_t{64} << 20;

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

std::optional<HubModel> parse_hub_id(const std::string& text) {
  const size_t at = text.find('@');
  const HubModel model{text.substr(0, at), at == std::string::npos ? "" : text.substr(at + 1)};
  if (model.id.size() > kMaxNameCharacters || !are_parts(model.id, 2)) return std::nullopt;
  if (at == std::string::npos) return model;
  // A branch may hold slashes ("refs/pr/1").
  if (model.revision.size() > kMaxRevisionCharacters || !are_parts(model.revision, 8)) return std::nullopt;
  return model;
}

// The order in which huggingface_hub asks.
std::string cache_folder(const EnvironmentLookup& environment) {
  for (const auto& [variable, rest] :
       {std::pair{"HF_HUB_CACHE", ""}, std::pair{"HF_HOME", "/hub"}, std::pair{"XDG_CACHE_HOME", "/huggingface/hub"},
        std::pair{"HOME", "/.cache/huggingface/hub"}}) {
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
    const auto require = [&](const std::string& file) {
      std::error_code ignored;
      if (!fs::is_regular_file(snapshot / file, ignored)) {
        refuse(fmt::format("lacks {} in {}", printable_name(file), snapshot.string()));
      }
    };
    require("config.json");
    std::error_code ignored;
    const fs::path index = snapshot / "model.safetensors.index.json";
    if (fs::is_regular_file(snapshot / "model.safetensors", ignored)) return;
    if (!fs::is_regular_file(index, ignored)) require("model.safetensors");
    for (const std::string& shard : shards(index)) require(shard);
  }

  // The files that the index names.
  std::vector<std::string> shards(const fs::path& index) const {
    std::error_code ignored;
    if (fs::file_size(index, ignored) > kMaxIndexBytes) refuse(fmt::format("has a damaged {}", index.string()));
    std::ifstream stream(index, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
    const nlohmann::json root = parse_strict_json(text, index.string());
    const bool has_map = root.is_object() && root.contains("weight_map") && root["weight_map"].is_object();
    if (!has_map) refuse(fmt::format("has a damaged {}", index.string()));
    std::vector<std::string> names;
    for (const auto& [tensor, file] : root["weight_map"].items()) {
      const std::string name = file.is_string() ? file.get<std::string>() : "";
      if (!is_part(name)) refuse(fmt::format("has a damaged {}", index.string()));
      names.push_back(name);
    }
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    if (names.empty()) refuse(fmt::format("has a damaged {}", index.string()));
    return names;
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
