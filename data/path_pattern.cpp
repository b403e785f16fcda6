#include "data/path_pattern.h"

#include <fmt/format.h>

#include "core/error.h"

namespace penstock {
namespace {

constexpr size_t kMaximumAlternatives = 4096;

// The first brace pair that holds a comma at its own level, with its alternatives.
struct BraceGroup {
  size_t open = std::string_view::npos;
  size_t close = 0;
  std::vector<std::string_view> alternatives;
};

// The group that opens at `open`, or one without alternatives when it never closes or holds no comma.
BraceGroup group_at(std::string_view pattern, size_t open) {
  BraceGroup group{.open = open, .close = 0, .alternatives = {}};
  size_t begin = open + 1;
  int depth = 1;
  for (size_t i = begin; i < pattern.size(); ++i) {
    if (pattern[i] == '{') ++depth;
    if (pattern[i] == '}') --depth;
    const bool separates = depth == 1 && pattern[i] == ',';
    if (!separates && depth > 0) continue;
    group.alternatives.push_back(pattern.substr(begin, i - begin));
    begin = i + 1;
    group.close = i;
    if (depth > 0) continue;
    if (group.alternatives.size() == 1) group.alternatives.clear();
    return group;
  }
  group.alternatives.clear();
  return group;
}

BraceGroup first_group(std::string_view pattern) {
  for (size_t open = pattern.find('{'); open != std::string_view::npos; open = pattern.find('{', open + 1)) {
    BraceGroup group = group_at(pattern, open);
    if (!group.alternatives.empty()) return group;
  }
  return {};
}

// The end (one past the `]`) of the set that opens at `pattern[open]`, or npos. A `]` right after `[` or `[!` is a
// member.
size_t set_end(std::string_view pattern, size_t open) {
  size_t first = open + 1;
  if (first < pattern.size() && (pattern[first] == '!' || pattern[first] == '^')) ++first;
  const size_t close = pattern.find(']', first + 1);
  return close == std::string_view::npos ? close : close + 1;
}

// `set` is the text from `[` to `]`.
bool set_contains(std::string_view set, unsigned char byte) {
  std::string_view members = set.substr(1, set.size() - 2);
  const bool negated = members.front() == '!' || members.front() == '^';
  if (negated) members.remove_prefix(1);
  bool found = false;
  for (size_t i = 0; i < members.size(); ++i) {
    const unsigned char lowest = static_cast<unsigned char>(members[i]);
    const bool range = i + 2 < members.size() && members[i + 1] == '-';
    const unsigned char highest = range ? static_cast<unsigned char>(members[i + 2]) : lowest;
    if (range) i += 2;
    found = found || (lowest <= byte && byte <= highest);
  }
  return found != negated;
}

// The length of the UTF-8 character at the start of `text` (not empty): its lead byte and what continues it.
size_t character_bytes(std::string_view text) {
  size_t count = 1;
  while (count < text.size() && (static_cast<unsigned char>(text[count]) & 0xc0u) == 0x80u) ++count;
  return count;
}

// How far one element of the pattern (not `*`) moves both sides; no name_bytes: no match.
struct ElementMatch {
  size_t pattern_bytes = 0;
  size_t name_bytes = 0;
};

ElementMatch match_element(std::string_view pattern, std::string_view name) {
  if (pattern.empty() || name.empty()) return {};
  if (pattern[0] == '?') return {1, character_bytes(name)};
  if (pattern[0] == '[') {
    const size_t end = set_end(pattern, 0);
    if (end != std::string_view::npos) {
      return {end, set_contains(pattern.substr(0, end), static_cast<unsigned char>(name[0])) ? size_t{1} : size_t{0}};
    }
  }
  return {1, pattern[0] == name[0] ? size_t{1} : size_t{0}};
}

}  // namespace

std::vector<std::string> expand_braces(std::string_view pattern) {
  std::vector<std::string> pending{std::string(pattern)};
  std::vector<std::string> expanded;
  while (!pending.empty()) {
    const std::string current = std::move(pending.back());
    pending.pop_back();
    const BraceGroup group = first_group(current);
    if (group.alternatives.empty()) {
      expanded.push_back(current);
    } else {
      const std::string before = current.substr(0, group.open);
      const std::string after = current.substr(group.close + 1);
      for (size_t i = group.alternatives.size(); i-- > 0;) {  // the stack turns them round again
        pending.push_back(fmt::format("{}{}{}", before, group.alternatives[i], after));
      }
    }
    if (pending.size() + expanded.size() > kMaximumAlternatives) {
      throw Error(ExitCode::kBadInput,
                  fmt::format("pattern {} has more than {} alternatives: use `*` instead of braces", pattern,
                              kMaximumAlternatives));
    }
  }
  return expanded;
}

bool has_wildcard(std::string_view component) {
  for (size_t i = 0; i < component.size(); ++i) {
    if (component[i] == '*' || component[i] == '?') return true;
    if (component[i] == '[' && set_end(component, i) != std::string_view::npos) return true;
  }
  return false;
}

bool matches_component(std::string_view pattern, std::string_view name) {
  if (!name.empty() && name[0] == '.' && (pattern.empty() || pattern[0] != '.')) return false;
  size_t at_pattern = 0;
  size_t at_name = 0;
  size_t after_star = std::string_view::npos;  // where to go on when the newest `*` takes one more byte
  size_t star_name = 0;
  while (at_name < name.size() || at_pattern < pattern.size()) {
    if (at_pattern < pattern.size() && pattern[at_pattern] == '*') {
      after_star = ++at_pattern;
      star_name = at_name;
      continue;
    }
    const ElementMatch match = match_element(pattern.substr(at_pattern), name.substr(at_name));
    if (match.name_bytes > 0) {
      at_pattern += match.pattern_bytes;
      at_name += match.name_bytes;
      continue;
    }
    if (after_star == std::string_view::npos || star_name == name.size()) return false;
    at_pattern = after_star;
    at_name = ++star_name;
  }
  return true;
}

}  // namespace penstock
