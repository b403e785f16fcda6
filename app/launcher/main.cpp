// Starts the program NAME-bin beside this one, NAME, with the LibTorch of this machine.
// The dynamic loader resolves LibTorch before main(), so the program itself cannot look for it; a copy of this one,
// which needs no LibTorch, does. Exit code 70 (device) where no LibTorch fits: nothing can be computed on this machine
// as it is. 69 would tell a script that a smaller model may run.
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "app/launcher/torch_search.h"

namespace {

namespace fs = std::filesystem;

constexpr int kExitDevice = 70;

int refuse(const std::string& message) {
  std::fprintf(stderr, "error: %s\n", message.c_str());
  return kExitDevice;
}

// In front of what is there. The text helper's Python inherits this; it loads none of these libraries.
void set_library_path(const std::vector<fs::path>& folders) {
  std::string value;
  for (const fs::path& folder : folders) value += (value.empty() ? "" : ":") + folder.string();
  const char* before = std::getenv("LD_LIBRARY_PATH");
  if (before != nullptr && *before != '\0') value += std::string(":") + before;
  setenv("LD_LIBRARY_PATH", value.c_str(), 1);
}

int start(char** argv) {
  const fs::path own_path = fs::read_symlink("/proc/self/exe");
  const std::string program = own_path.string() + "-bin";
  if (!fs::exists(program)) return refuse(program + " is missing: both files belong into the same folder");
  const penstock::TorchChoice torch = penstock::find_torch(own_path.parent_path());
  if (!torch.refusal.empty()) return refuse(torch.refusal);
  set_library_path(torch.library_folders);
  execv(program.c_str(), argv);
  return refuse(program + " cannot be started: " + std::strerror(errno));
}

}  // namespace

int main(int, char** argv) {
  try {
    return start(argv);
  } catch (const std::exception& error) {
    return refuse(error.what());
  }
}
