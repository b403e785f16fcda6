// Path patterns: `*` and `?` inside one component, `[a-z]` and `[!a-z]` for one byte, `{a,b}` alternatives (nested,
// across components too) and `**` for any number of folders. No escapes: a path that exists as written needs none.
// As in a shell, a wildcard does not match the dot of a hidden name, and an unpaired brace or bracket stands for
// itself.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace penstock {

// The patterns that `pattern` abbreviates with braces, in the order they are written. Throws Error(kBadInput) when they
// are more than 4096.
std::vector<std::string> expand_braces(std::string_view pattern);

// Whether the component holds `*`, `?` or a paired `[`.
bool has_wildcard(std::string_view component);

// Whether one path component matches; neither side holds a slash, braces are expanded.
bool matches_component(std::string_view pattern, std::string_view name);

}  // namespace penstock
