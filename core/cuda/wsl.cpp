#include "core/cuda/wsl.h"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <string>

namespace penstock {

bool is_wsl(const std::filesystem::path& root) {
  for (const char* file : {"proc/sys/kernel/osrelease", "proc/version"}) {
    std::ifstream stream(root / file);
    std::string line;
    std::getline(stream, line);
    std::ranges::transform(line, line.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (line.find("microsoft") != std::string::npos) return true;
  }
  return false;
}

}  // namespace penstock
