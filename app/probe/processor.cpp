#include "app/probe/processor.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <sstream>
#include <string_view>

namespace penstock {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 6> kLookedFor = {"avx2",        "avx512f",  "avx512_bf16",
                                                        "avx512_fp16", "amx_tile", "amx_bf16"};

// "key : value" of a line, without the spaces around.
struct KeyedText {
  std::string key;
  std::string value;
};
KeyedText split_line(const std::string& line) {
  const size_t colon = line.find(':');
  if (colon == std::string::npos) return {};
  const auto trimmed = [](std::string text) {
    text.erase(0, text.find_first_not_of(" \t"));
    text.erase(text.find_last_not_of(" \t") + 1);
    return text;
  };
  return {trimmed(line.substr(0, colon)), trimmed(line.substr(colon + 1))};
}

// The first CPU's lines; those of the others say the same.
void read_cpuinfo(const fs::path& path, Processor& processor) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line) && !line.empty();) {
    const KeyedText entry = split_line(line);
    if (entry.key == "model name") processor.model = entry.value;
    if (entry.key != "flags" && entry.key != "Features") continue;
    std::istringstream words(entry.value);
    for (std::string word; words >> word;) {
      if (std::find(kLookedFor.begin(), kLookedFor.end(), word) != kLookedFor.end()) processor.features.push_back(word);
    }
  }
}

}  // namespace

bool Processor::has(const std::string& feature) const {
  return std::find(features.begin(), features.end(), feature) != features.end();
}

Processor read_processor(const fs::path& root) {
  Processor processor;
  read_cpuinfo(root / "proc/cpuinfo", processor);
  return processor;
}

}  // namespace penstock
