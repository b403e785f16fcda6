// Whether this is a Linux inside Windows (WSL2): its driver pins only a part of the memory, and one refusal spoils
// later attempts.
#pragma once

#include <filesystem>

namespace penstock {

// Reads the kernel's name below `root`.
bool is_wsl(const std::filesystem::path& root = "/");

}  // namespace penstock
