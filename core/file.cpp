#include "core/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "core/bytes.h"
#include "core/check.h"
#include "core/error.h"

namespace penstock {
namespace {

[[noreturn]] void throw_io(const char* action, const std::string& path, int code) {
  throw Error(ExitCode::kIo, fmt::format("{}: cannot {}: {}", path, action, std::strerror(code)));
}

// A wrong path to read from is the user's input; everything else is the environment.
[[noreturn]] void throw_unreadable(const std::string& path, int code) {
  if (code != ENOENT && code != ENOTDIR) throw_io("open", path, code);
  throw Error(ExitCode::kBadInput, fmt::format("{}: cannot open: {}", path, std::strerror(code)));
}

// Linux moves at most this many bytes in one call.
constexpr size_t kMaxCallBytes = size_t{1} << 30;

}  // namespace

InputFile::InputFile(std::string path) : path_(std::move(path)) {
  // O_NONBLOCK: opening a pipe by mistake must not hang.
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) throw_unreadable(path_, errno);
  struct stat status = {};
  const bool known = ::fstat(descriptor_, &status) == 0;
  if (known && S_ISREG(status.st_mode)) {
    size_bytes_ = static_cast<uint64_t>(status.st_size);
    return;
  }
  const int code = errno;
  ::close(descriptor_);
  if (!known) throw_io("stat", path_, code);
  throw Error(ExitCode::kBadInput, fmt::format("{}: is not a regular file", path_));
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      size_bytes_(std::exchange(other.size_bytes_, 0)) {}

size_t InputFile::read_some(uint64_t offset, std::span<std::byte> out) const {
  CHECK_GE(descriptor_, 0);
  size_t done = 0;
  while (done < out.size()) {
    const size_t wanted = std::min(out.size() - done, kMaxCallBytes);
    const ssize_t got = ::pread(descriptor_, out.data() + done, wanted, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_io("read", path_, errno);
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

void InputFile::read(uint64_t offset, std::span<std::byte> out) const {
  const size_t done = read_some(offset, out);
  if (done == out.size()) return;
  throw Error(ExitCode::kIo, fmt::format("{}: ends at byte {}, {} bytes early; was it cut while being read?", path_,
                                         offset + done, out.size() - done));
}

std::string read_text_file(const std::string& path, uint64_t max_bytes) {
  const InputFile file(path);
  if (file.size_bytes() > max_bytes) {
    throw Error(ExitCode::kBadInput, fmt::format("{}: has {}, more than the {} a file of this kind may have", path,
                                                 format_bytes(file.size_bytes()), format_bytes(max_bytes)));
  }
  std::string text(file.size_bytes(), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

OutputFile::OutputFile(std::string path) : path_(std::move(path)), temporary_path_(path_ + ".tmp") {
  descriptor_ = ::open(temporary_path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor_ < 0) throw_io("create", temporary_path_, errno);
}

OutputFile::~OutputFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_path_.c_str());
}

void OutputFile::write(std::span<const std::byte> bytes) {
  CHECK_GE(descriptor_, 0);
  while (!bytes.empty()) {
    const ssize_t put = ::write(descriptor_, bytes.data(), std::min(bytes.size(), kMaxCallBytes));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) throw_io("write", temporary_path_, errno);
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
}

void OutputFile::commit() {
  CHECK_GE(descriptor_, 0);
  if (::fsync(descriptor_) != 0) throw_io("sync", temporary_path_, errno);
  if (::rename(temporary_path_.c_str(), path_.c_str()) != 0) throw_io("rename", temporary_path_, errno);
  ::close(std::exchange(descriptor_, -1));
  const std::filesystem::path parent = std::filesystem::path(path_).parent_path();
  sync_directory(parent.empty() ? "." : parent.string());
}

void write_text_file(const std::string& path, std::string_view text) {
  OutputFile file(path);
  file.write(std::as_bytes(std::span(text)));
  file.commit();
}

void sync_directory(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) throw_io("open", path, errno);
  const int result = ::fsync(descriptor);
  const int code = errno;
  ::close(descriptor);
  if (result != 0) throw_io("sync", path, code);
}

}  // namespace penstock
