#include "data/line_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "core/error.h"

namespace penstock {
namespace {

// What a process that has closed its output may still take to end by itself.
constexpr int kEndMilliseconds = 2000;

[[noreturn]] void refused(const char* what, int error) {
  throw Error(ExitCode::kIo, fmt::format("cannot start the text helper: {}: {}", what, std::strerror(error)));
}

// File actions and attributes of one posix_spawn.
class SpawnSettings {
 public:
  SpawnSettings(int input_output, int standard_error) {
    CHECK_EQ(::posix_spawn_file_actions_init(&actions_), 0);
    CHECK_EQ(::posix_spawnattr_init(&attributes_), 0);
    bool set = ::posix_spawn_file_actions_adddup2(&actions_, input_output, STDIN_FILENO) == 0;
    set = set && ::posix_spawn_file_actions_adddup2(&actions_, input_output, STDOUT_FILENO) == 0;
    set = set && ::posix_spawn_file_actions_adddup2(&actions_, standard_error, STDERR_FILENO) == 0;
    // Our own signal mask and ignored signals are no business of the child.
    sigset_t none, all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    set = set && ::posix_spawnattr_setsigmask(&attributes_, &none) == 0;
    set = set && ::posix_spawnattr_setsigdefault(&attributes_, &all) == 0;
    set = set && ::posix_spawnattr_setpgroup(&attributes_, 0) == 0;
    constexpr short kFlags = POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    set = set && ::posix_spawnattr_setflags(&attributes_, kFlags) == 0;
    CHECK(set);
  }
  ~SpawnSettings() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;

  const posix_spawn_file_actions_t* actions() const { return &actions_; }
  const posix_spawnattr_t* attributes() const { return &attributes_; }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

pid_t spawn(const std::vector<std::string>& command, int input_output, int standard_error) {
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  const SpawnSettings settings(input_output, standard_error);
  pid_t process = -1;
  const int error =
      ::posix_spawnp(&process, arguments[0], settings.actions(), settings.attributes(), arguments.data(), environ);
  if (error == 0) return process;
  throw Error(ExitCode::kBadInput, fmt::format("cannot run '{}' for the text helper: {}; run scripts/setup.sh, or set "
                                               "PENSTOCK_PYTHON to a Python that has tokenizers",
                                               command[0], std::strerror(error)));
}

// Waits until the process has ended, and ends it when that takes long. Its wait status.
int reap(pid_t process, int patience_ms) {
  const Descriptor end(static_cast<int>(::syscall(SYS_pidfd_open, process, 0)));
  pollfd event{.fd = end.number(), .events = POLLIN, .revents = 0};
  int ready = 0;
  if (end.number() >= 0 && patience_ms > 0) {
    do ready = ::poll(&event, 1, patience_ms);
    while (ready < 0 && errno == EINTR);
  }
  if (ready <= 0) ::kill(process, SIGKILL);
  int status = 0;
  while (::waitpid(process, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

// The last line that is not blank, from the end of the file.
std::string last_line(int descriptor) {
  std::array<char, 4096> tail;
  const off_t size = ::lseek(descriptor, 0, SEEK_END);
  const off_t begin = std::max<off_t>(0, size - std::ssize(tail));
  const ssize_t count = ::pread(descriptor, tail.data(), tail.size(), begin);
  std::string_view text(tail.data(), static_cast<size_t>(std::max<ssize_t>(0, count)));
  const size_t end = text.find_last_not_of(" \t\r\n");
  if (end == std::string_view::npos) return "";
  text = text.substr(0, end + 1);
  return std::string(text.substr(text.find_last_of('\n') + 1));
}

}  // namespace

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(number_, other.number_);
  return *this;
}

void Descriptor::close() {
  if (number_ >= 0) ::close(number_);
  number_ = -1;
}

LineProcess::LineProcess(const std::vector<std::string>& command) {
  CHECK(!command.empty());
  name_ = fmt::format("{}", fmt::join(command, " "));
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) refused("socketpair", errno);
  socket_ = Descriptor(ends[0]);
  const Descriptor child_end(ends[1]);
  standard_error_ = Descriptor(::memfd_create("penstock text helper", MFD_CLOEXEC));
  if (standard_error_.number() < 0) refused("memfd_create", errno);
  process_ = spawn(command, child_end.number(), standard_error_.number());
}

LineProcess::~LineProcess() {
  if (process_ > 0) reap(process_, 0);
}

bool LineProcess::write(std::string_view bytes) {
  while (!bytes.empty()) {
    if (has_spoken()) return false;
    pollfd event{.fd = socket_.number(), .events = POLLIN | POLLOUT, .revents = 0};
    if (::poll(&event, 1, -1) < 0) {
      if (errno == EINTR) continue;
      throw Error(ExitCode::kIo, fmt::format("{}: poll: {}", name_, std::strerror(errno)));
    }
    if ((event.revents & (POLLIN | POLLHUP | POLLERR)) != 0) return false;
    const ssize_t count = ::send(socket_.number(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count >= 0) {
      bytes.remove_prefix(static_cast<size_t>(count));
    } else if (errno != EINTR && errno != EAGAIN) {
      return false;
    }
  }
  return !has_spoken();
}

bool LineProcess::receive() {
  constexpr size_t kReadBytes = size_t{1} << 16;
  const size_t size = buffer_.size();
  buffer_.resize(size + kReadBytes);
  ssize_t count = 0;
  do count = ::recv(socket_.number(), buffer_.data() + size, kReadBytes, 0);
  while (count < 0 && errno == EINTR);
  buffer_.resize(size + static_cast<size_t>(std::max<ssize_t>(0, count)));
  return count > 0;
}

std::string_view LineProcess::read_line() {
  size_t end = buffer_.find('\n', line_end_);
  if (end == std::string::npos) {
    buffer_.erase(0, line_end_);
    line_end_ = 0;
    size_t searched = 0;
    while ((end = buffer_.find('\n', searched)) == std::string::npos) {
      searched = buffer_.size();
      if (searched > kMostLineBytes) throw Error(ExitCode::kIo, fmt::format("{}: its answer has no end", name_));
      if (!receive()) report_end();
    }
  }
  const size_t start = line_end_;
  line_end_ = end + 1;
  return std::string_view(buffer_).substr(start, end - start);
}

void LineProcess::report_end() {
  const int status = reap(process_, kEndMilliseconds);
  process_ = -1;
  const std::string how = WIFSIGNALED(status) ? fmt::format("was ended by signal {}", WTERMSIG(status))
                                              : fmt::format("ended with exit code {}", WEXITSTATUS(status));
  const std::string words = last_line(standard_error_.number());
  throw Error(ExitCode::kIo, fmt::format("the text helper ({}) {}{}{}", name_, how, words.empty() ? "" : ": ", words));
}

}  // namespace penstock
