#include "core/system_memory.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <optional>
#include <sstream>
#include <string_view>
#include <vector>

#include "core/bytes.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

// The files of one version of the interface.
struct GroupFiles {
  const char* limit;
  const char* use;
  const char* droppable;  // key in memory.stat, children included
};
constexpr GroupFiles kVersion2 = {"memory.max", "memory.current", "inactive_file"};
constexpr GroupFiles kVersion1 = {"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"};

// Version 1 writes "no limit" as a number: the largest one, rounded down to whole pages.
constexpr uint64_t kUnlimitedBytes = uint64_t{1} << 62;

std::vector<std::string> read_lines(const fs::path& path) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

std::vector<std::string> split_words(const std::string& line) {
  std::istringstream stream(line);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

std::optional<uint64_t> parse_number(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;  // "max" among others
  return value;
}

std::optional<uint64_t> read_number(const fs::path& path) {
  const std::vector<std::string> lines = read_lines(path);
  return lines.empty() ? std::nullopt : parse_number(lines.front());
}

// The number that follows `key` on a line of its own, as in meminfo and memory.stat.
std::optional<uint64_t> read_keyed_number(const fs::path& path, std::string_view key) {
  for (const std::string& line : read_lines(path)) {
    const std::vector<std::string> words = split_words(line);
    if (words.size() >= 2 && words[0] == key) return parse_number(words[1]);
  }
  return std::nullopt;
}

bool lists_memory(const std::string& options) {
  std::istringstream stream(options);
  for (std::string option; std::getline(stream, option, ',');) {
    if (option == "memory") return true;
  }
  return false;
}

// Where a hierarchy is mounted, and which of its groups is the mount's top (not "/" inside a container).
struct GroupMount {
  std::string mount_point;
  std::string top;
};

// /proc/self/mountinfo: id parent device TOP MOUNT_POINT options [tags...] - TYPE source SUPER_OPTIONS
std::optional<GroupMount> find_mount(const fs::path& root, bool version2) {
  for (const std::string& line : read_lines(root / "proc/self/mountinfo")) {
    const std::vector<std::string> words = split_words(line);
    const auto dash = std::find(words.begin(), words.end(), "-");
    if (words.size() < 6 || words.end() - dash < 4) continue;
    const bool matches = version2 ? dash[1] == "cgroup2" : dash[1] == "cgroup" && lists_memory(dash[3]);
    if (matches) return GroupMount{.mount_point = words[4], .top = words[3]};
  }
  return std::nullopt;
}

// /proc/self/cgroup: "0::PATH" for version 2, "ID:CONTROLLERS:PATH" for version 1.
std::optional<std::string> find_group(const fs::path& root, bool version2) {
  for (const std::string& line : read_lines(root / "proc/self/cgroup")) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool matches = version2 ? line.starts_with("0::") : lists_memory(controllers);
    if (matches) return line.substr(second + 1);
  }
  return std::nullopt;
}

// The group's path below the mount point. Empty where the group lies outside of what is mounted: then the mount's top
// is the nearest that can be read.
fs::path path_below_top(const std::string& group, const std::string& top) {
  const fs::path below = fs::path(group).lexically_relative(top);
  for (const fs::path& part : below) {
    if (part == "..") return {};
  }
  return below == "." ? fs::path() : below;
}

// `shown` is the directory as the user knows it, without `root`.
void add_group(const fs::path& root, const fs::path& shown, const GroupFiles& files, std::vector<GroupLimit>& limits) {
  const fs::path directory = root / shown.relative_path();
  const std::optional<uint64_t> limit = read_number(directory / files.limit);
  if (!limit || *limit >= kUnlimitedBytes) return;
  const uint64_t used = read_number(directory / files.use).value_or(0);
  const uint64_t droppable = read_keyed_number(directory / "memory.stat", files.droppable).value_or(0);
  const uint64_t held = used - std::min(used, droppable);
  limits.push_back({(shown / files.limit).string(), *limit, *limit - std::min(*limit, held)});
}

void add_groups(const fs::path& root, bool version2, std::vector<GroupLimit>& limits) {
  const std::optional<GroupMount> mount = find_mount(root, version2);
  const std::optional<std::string> group = find_group(root, version2);
  if (!mount || !group) return;
  fs::path directory = mount->mount_point;
  const GroupFiles& files = version2 ? kVersion2 : kVersion1;
  add_group(root, directory, files, limits);
  for (const fs::path& part : path_below_top(*group, mount->top)) {
    directory /= part;
    add_group(root, directory, files, limits);
  }
}

}  // namespace

std::vector<GroupLimit> read_group_limits(const std::filesystem::path& root) {
  std::vector<GroupLimit> limits;
  add_groups(root, true, limits);
  add_groups(root, false, limits);
  return limits;
}

HostMemory read_host_memory(const std::filesystem::path& root) {
  HostMemory memory = {UINT64_MAX, "no limit known"};
  const auto take_smaller = [&](uint64_t available_bytes, std::string source) {
    if (available_bytes < memory.available_bytes) memory = {available_bytes, std::move(source)};
  };
  if (const auto kilobytes = read_keyed_number(root / "proc/meminfo", "MemAvailable:")) {
    take_smaller(std::min(*kilobytes, UINT64_MAX / kKiB) * kKiB, "MemAvailable of /proc/meminfo");
  }
  for (const GroupLimit& limit : read_group_limits(root)) take_smaller(limit.available_bytes, limit.path);
  return memory;
}

}  // namespace penstock
