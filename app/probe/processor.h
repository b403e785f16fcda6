// What the kernel says about the processor: its name, and the features that decide how fast we compute.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace penstock {

struct Processor {
  std::string model = "unknown";      // "AMD Ryzen 9 7950X 16-Core Processor"
  std::vector<std::string> features;  // of those we look for, as /proc/cpuinfo spells them

  bool has(const std::string& feature) const;
};

// Below `root`; what is absent or unreadable stays empty.
Processor read_processor(const std::filesystem::path& root = "/");

}  // namespace penstock
