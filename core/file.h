// Files: reads by pread (never mmap, so that a shrinking file is an error and not a signal), and
// writes that are complete and durable or absent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace penstock {

// A regular file open for reading. Throws Error(kBadInput) where there is none at `path`, Error(kIo) on other failures.
class InputFile {
 public:
  explicit InputFile(std::string path);
  ~InputFile();
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&&) = delete;

  const std::string& path() const { return path_; }
  uint64_t size_bytes() const { return size_bytes_; }
  // Fills `out` from `offset`. Throws Error(kIo) when the file ends before that.
  void read(uint64_t offset, std::span<std::byte> out) const;
  // As much as there is; less than asked for only at the end of the file.
  size_t read_some(uint64_t offset, std::span<std::byte> out) const;

 private:
  std::string path_;
  int descriptor_ = -1;
  uint64_t size_bytes_ = 0;
};

// The whole file; Error(kBadInput) when it is larger than `max_bytes`.
std::string read_text_file(const std::string& path, uint64_t max_bytes);

// Writes to "<path>.tmp"; commit() makes the bytes durable and gives them their name. Without commit() nothing stays.
// Every failure is Error(kIo), a folder that is not there included.
class OutputFile {
 public:
  explicit OutputFile(std::string path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void commit();

 private:
  std::string path_;
  std::string temporary_path_;
  int descriptor_ = -1;
};

// Durably writes a small file in one go.
void write_text_file(const std::string& path, std::string_view text);

// fsync of a directory: makes the names in it durable.
void sync_directory(const std::string& path);

}  // namespace penstock
