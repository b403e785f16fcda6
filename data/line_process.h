// A child process that answers in lines. One socket is its standard input and output, so that a process that is gone
// gives an error here and no SIGPIPE. Started by posix_spawn: the parent's memory is neither copied nor counted.
// Not a shell: the program gets its arguments as they are. It is a process group of its own, so Ctrl-C leaves it to us.
// Invariant: the process does not outlive the object, and leaves no zombie.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

namespace penstock {

// Owns one file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int number = -1) : number_(number) {}
  ~Descriptor() { close(); }
  Descriptor(Descriptor&& other) noexcept : number_(other.number_) { other.number_ = -1; }
  Descriptor& operator=(Descriptor&& other) noexcept;

  int number() const { return number_; }
  void close();

 private:
  int number_;
};

class LineProcess {
 public:
  // command[0] is looked up in PATH. Throws Error(kBadInput) when it cannot be started, Error(kIo) when the system
  // refuses a socket.
  explicit LineProcess(const std::vector<std::string>& command);
  ~LineProcess();
  LineProcess(const LineProcess&) = delete;
  LineProcess& operator=(const LineProcess&) = delete;

  // False when the process spoke before it had read everything, or is gone: its line says more.
  [[nodiscard]] bool write(std::string_view bytes);
  // The next line without its '\n', valid until the next call. Throws Error(kIo) with the process's last words when it
  // ends first, and for a line of more than kMostLineBytes.
  std::string_view read_line();

  static constexpr size_t kMostLineBytes = size_t{1} << 28;

 private:
  bool has_spoken() const { return line_end_ < buffer_.size(); }
  // Appends what there is. False at the end.
  bool receive();
  [[noreturn]] void report_end();

  std::string name_;  // the command, for messages
  Descriptor socket_;
  Descriptor standard_error_;  // an unnamed file
  pid_t process_ = -1;
  std::string buffer_;
  size_t line_end_ = 0;  // bytes of buffer_ that were read as lines
};

}  // namespace penstock
