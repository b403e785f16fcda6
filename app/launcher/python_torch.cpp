#include "app/launcher/python_torch.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace penstock {
namespace {

// The current folder is no place to import from: a folder of data called torch may lie there.
constexpr const char* kQuestion =
    "import sys\n"
    "sys.path = [p for p in sys.path if p]\n"
    "from importlib.util import find_spec\n"
    "spec = find_spec('torch')\n"
    "if spec is not None and spec.origin is not None:\n"
    "    print(spec.submodule_search_locations[0])\n";

std::string read_all(int descriptor) {
  std::string text;
  std::array<char, 4096> piece;
  for (;;) {
    const ssize_t count = read(descriptor, piece.data(), piece.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return text;
    text.append(piece.data(), static_cast<size_t>(count));
  }
}

// Starts `python -c kQuestion` with standard output into `pipe_end`; -1 where it cannot be started.
pid_t ask(const std::string& python, int pipe_end) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, pipe_end, STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  const char* arguments[] = {python.c_str(), "-c", kQuestion, nullptr};
  pid_t child = -1;
  const int error =
      posix_spawnp(&child, python.c_str(), &actions, nullptr, const_cast<char* const*>(arguments), environ);
  posix_spawn_file_actions_destroy(&actions);
  return error == 0 ? child : -1;
}

}  // namespace

std::string torch_folder_of_python(const std::string& python) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return "";
  const pid_t child = ask(python, ends[1]);
  close(ends[1]);
  const std::string text = child < 0 ? "" : read_all(ends[0]);
  close(ends[0]);
  int status = 0;
  if (child < 0) return "";
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0) return "";
  return text.substr(0, text.find('\n'));
}

}  // namespace penstock
