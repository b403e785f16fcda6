#include "core/cuda/pin_probe.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <memory>
#include <ostream>
#include <utility>
#include <vector>

#include "core/arena.h"
#include "core/cuda/cuda_device.h"
#include "core/error.h"
#include "core/system_memory.h"

namespace penstock {
namespace {

// Left to the system and to the parent while the child holds its memory.
constexpr uint64_t kSpareBytes = 2 * kGiB;

// Should memory run out after all, the kernel ends the child and nothing else.
void offer_to_be_ended_first() { std::ofstream("/proc/self/oom_score_adj") << 1000; }

[[noreturn]] void refuse(const std::filesystem::path& program, int error_number) {
  throw Error(ExitCode::kIo, fmt::format("cannot start {} to try how much memory can be pinned ({}); set memory.pin: "
                                         "staged",
                                         program.string(), std::strerror(error_number)));
}

class Pipe {
 public:
  explicit Pipe(const std::filesystem::path& program) {
    if (pipe2(ends_, O_CLOEXEC) != 0) refuse(program, errno);
  }
  ~Pipe() {
    close(ends_[0]);
    close_write_end();
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  int read_end() const { return ends_[0]; }
  int write_end() const { return ends_[1]; }
  void close_write_end() {
    if (ends_[1] >= 0) close(std::exchange(ends_[1], -1));
  }

 private:
  int ends_[2] = {-1, -1};
};

pid_t start(const std::filesystem::path& program, int index, uint64_t bytes, int output) {
  const std::string path = program.string(), verb = "pin-probe";
  const std::string index_text = std::to_string(index), bytes_text = std::to_string(bytes);
  std::vector<char*> arguments;
  for (const std::string* text : {&path, &verb, &index_text, &bytes_text}) {
    arguments.push_back(const_cast<char*>(text->c_str()));
  }
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  pid_t child = 0;
  const int error_number = posix_spawn(&child, path.c_str(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error_number != 0) refuse(program, error_number);
  return child;
}

std::string read_all(int file) {
  std::string text;
  char buffer[4096];
  for (;;) {
    const ssize_t count = read(file, buffer, sizeof(buffer));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return text;
    text.append(buffer, static_cast<size_t>(count));
  }
}

// The number on the last line that is whole.
uint64_t last_number(const std::string& text) {
  const size_t end = text.rfind('\n');
  if (end == std::string::npos) return 0;
  const size_t before = end == 0 ? std::string::npos : text.rfind('\n', end - 1);
  const size_t begin = before == std::string::npos ? 0 : before + 1;
  uint64_t number = 0;
  const auto [rest, error] = std::from_chars(text.data() + begin, text.data() + end, number);
  return error == std::errc() && rest == text.data() + end ? number : 0;
}

}  // namespace

int pin_probe_main(CudaRuntime& runtime, int index, uint64_t bytes, std::ostream& output) {
  offer_to_be_ended_first();
  const CudaDeviceChoice choice = choose_cuda_device(runtime, index);
  if (!choice.info) throw Error(ExitCode::kDevice, choice.problem);
  const auto context = std::make_shared<CudaContext>(runtime, index);
  std::vector<Arena> arenas;
  std::vector<PinnedMemory> pinned;  // ends before the arenas
  for (uint64_t done = 0; done < bytes;) {
    const uint64_t piece_bytes = std::min(bytes - done, kPinPieceBytes);
    if (read_host_memory().available_bytes < piece_bytes + kSpareBytes) break;
    Arena& arena = arenas.emplace_back("pin probe", piece_bytes);
    const std::span<std::byte> piece = arena.allocate(arena.capacity_bytes());
    if (runtime.register_host(piece.data(), piece.size()) != CudaStatus::kSuccess) {
      runtime.take_last_error();
      break;
    }
    pinned.emplace_back(context, piece.data());
    done += piece_bytes;
    output << done << std::endl;
  }
  return static_cast<int>(ExitCode::kDone);
}

uint64_t run_pin_probe(const std::filesystem::path& program, int index, uint64_t bytes) {
  Pipe pipe(program);
  const pid_t child = start(program, index, bytes, pipe.write_end());
  pipe.close_write_end();
  const std::string output = read_all(pipe.read_end());
  while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  return last_number(output);
}

}  // namespace penstock
