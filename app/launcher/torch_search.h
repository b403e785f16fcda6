// Finds the LibTorch that a portable program runs with. In this order, the first that fits:
// 1. the folder PENSTOCK_TORCH_DIR names; nothing else is tried when it is set;
// 2. `torch` beside the program;
// 3. the torch of $VIRTUAL_ENV/bin/python, of python3, of python, asked for without importing it.
// A torch folder is that of a Python package: version.py and lib/, with NVIDIA's libraries in nvidia/*/lib beside it.
// It fits when its release (2.11.0 of 2.11.0+cu130) is the one the program was compiled against, because private ATen
// operators change in every release, and when the libraries are there. Knows nothing of LibTorch but those names.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace penstock {

struct TorchChoice {
  std::vector<std::filesystem::path> library_folders;
  std::string refusal;  // why nothing fits, one line; empty when something does
};

TorchChoice find_torch(const std::filesystem::path& program_folder);

}  // namespace penstock
