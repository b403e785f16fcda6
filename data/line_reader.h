// Line by line through a file of any size.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"

namespace penstock {

// Walks the lines of a file in pieces; a line may be longer than a piece. A byte order mark at the start is skipped.
class LineReader {
 public:
  static constexpr size_t kPieceBytes = size_t{1} << 20;
  // Bytes after each line that may be read (they hold anything): what simdjson's vector loads need.
  static constexpr size_t kPaddingBytes = 64;

  explicit LineReader(const std::string& path, size_t piece_bytes = kPieceBytes);

  // The next line without its '\n', valid until the next call; nothing at the end. A last line needs no '\n'.
  std::optional<std::string_view> next();
  int64_t line_number() const { return line_number_; }  // of the line next() returned last, from 1
  const std::string& path() const { return file_.path(); }

 private:
  // Moves what is unread to the front and reads one more piece. False at the end of the file.
  bool refill();

  InputFile file_;
  size_t piece_bytes_;
  std::vector<char> buffer_;
  size_t begin_ = 0;  // unread bytes are buffer_[begin_, end_)
  size_t end_ = 0;
  uint64_t file_offset_ = 0;
  int64_t line_number_ = 0;
};

}  // namespace penstock
