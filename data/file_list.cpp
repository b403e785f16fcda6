#include "data/file_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <span>
#include <system_error>

#include "core/error.h"
#include "data/path_pattern.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

// The names between slashes; "" and "." drop out, so that one file has one spelling.
std::vector<std::string> components_of(std::string_view path) {
  std::vector<std::string> components;
  size_t begin = 0;
  while (begin <= path.size()) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view component = path.substr(begin, end - begin);
    const bool repeats = component == "**" && !components.empty() && components.back() == "**";
    if (!component.empty() && component != "." && !repeats) components.emplace_back(component);
    begin = end + 1;
  }
  return components;
}

std::string joined(const std::string& folder, std::string_view name) {
  if (folder.empty() || folder.back() == '/') return fmt::format("{}{}", folder, name);
  return fmt::format("{}/{}", folder, name);
}

bool is_file(const std::string& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

bool is_folder(const std::string& path) {
  std::error_code error;
  return fs::is_directory(path.empty() ? "." : path, error);
}

class FileWalk {
 public:
  FileWalk(std::string_view key, std::vector<std::string>& files) : key_(key), files_(files) {}

  // Adds the files below `folder` that the components reach.
  void walk(const std::string& folder, std::span<const std::string> components) {
    const std::string& component = components.front();
    const bool last = components.size() == 1;
    if (component == "**") {
      walk_any_depth(folder, components);
    } else if (has_wildcard(component)) {
      for (const std::string& name : names_in(folder)) {
        if (matches_component(component, name)) enter(joined(folder, name), components.subspan(1), last);
      }
    } else {
      enter(joined(folder, component), components.subspan(1), last);
    }
  }

  void add_file(const std::string& path) {
    if (is_file(path)) files_.push_back(path);
  }

  void add_folder(const std::string& folder) {
    const std::vector<std::string> everything{"**"};
    walk(folder, everything);
  }

 private:
  void enter(const std::string& path, std::span<const std::string> rest, bool last) {
    if (last) add_file(path);
    if (!last && is_folder(path)) walk(path, rest);
  }

  // `**` comes first in `components`: it stands for no folder here, then for every folder below.
  void walk_any_depth(const std::string& folder, std::span<const std::string> components) {
    const bool last = components.size() == 1;
    if (!last) walk(folder, components.subspan(1));
    for (const std::string& name : names_in(folder)) {
      if (name[0] == '.') continue;
      const std::string path = joined(folder, name);
      std::error_code error;
      const fs::file_status status = fs::symlink_status(path, error);
      if (fs::is_directory(status)) {
        walk(path, components);
      } else if (last) {
        add_file(path);
      }
    }
  }

  std::vector<std::string> names_in(const std::string& folder) const {
    if (!is_folder(folder)) return {};
    std::error_code error;
    std::vector<std::string> names;
    fs::directory_iterator entry(folder.empty() ? "." : folder, error);
    while (!error && entry != fs::directory_iterator()) {
      names.push_back(entry->path().filename().string());
      entry.increment(error);
    }
    if (error) {
      throw Error(ExitCode::kBadInput, fmt::format("{}: cannot list folder {}: {}: make it readable or leave it out",
                                                   key_, folder, error.message()));
    }
    return names;
  }

  std::string_view key_;
  std::vector<std::string>& files_;
};

// `components` hold no pattern: a file or a folder by its name.
void add_path(const std::string& root, const std::vector<std::string>& components, FileWalk& walk) {
  std::string path = root;
  for (const std::string& component : components) path = joined(path, component);
  is_folder(path) ? walk.add_folder(path) : walk.add_file(path);
}

void add_entry(const std::string& entry, FileWalk& walk) {
  std::error_code error;
  const bool exists_as_written = fs::exists(entry, error);
  const std::vector<std::string> patterns = exists_as_written ? std::vector{entry} : expand_braces(entry);
  for (const std::string& pattern : patterns) {
    const std::string root = pattern.starts_with('/') ? "/" : "";
    const std::vector<std::string> components = components_of(pattern);
    const bool literal = exists_as_written || std::none_of(components.begin(), components.end(), has_wildcard);
    literal ? add_path(root, components, walk) : walk.walk(root, components);
  }
}

}  // namespace

std::vector<std::string> expand_paths(const std::vector<std::string>& entries, std::string_view key) {
  std::vector<std::string> files;
  FileWalk walk(key, files);
  for (const std::string& entry : entries) {
    const size_t before = files.size();
    if (!entry.empty()) add_entry(entry, walk);
    if (files.size() == before) {
      throw Error(ExitCode::kBadInput,
                  fmt::format("{}: no file matches {}: check the path (it is relative to the working directory; hidden "
                              "names are skipped)",
                              key, entry.empty() ? "\"\"" : entry));
    }
  }
  std::sort(files.begin(), files.end());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  return files;
}

}  // namespace penstock
