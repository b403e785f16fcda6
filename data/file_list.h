// From what a user writes under dataset.path to the files it stands for. Lists names only, opens no file.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace penstock {

// Every regular file that the entries stand for, sorted bytewise, each once. An entry is a file, a folder (every file
// below it, at any depth) or a pattern (data/path_pattern.h; relative to the working directory). What exists as written
// is no pattern. Hidden names are skipped unless an entry spells them out. `**` and folders do not follow links to
// folders. Only folders that the pattern can reach are listed.
// Throws Error(kBadInput), naming the configuration key `key`, for an entry without a file and for a folder that
// cannot be listed.
std::vector<std::string> expand_paths(const std::vector<std::string>& entries, std::string_view key);

}  // namespace penstock
