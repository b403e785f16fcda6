#include "data/line_reader.h"

#include <algorithm>
#include <span>

namespace penstock {

LineReader::LineReader(const std::string& path, size_t piece_bytes) : file_(path), piece_bytes_(piece_bytes) {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  while (end_ < kByteOrderMark.size() && refill()) continue;
  if (std::string_view(buffer_.data(), end_).starts_with(kByteOrderMark)) begin_ = kByteOrderMark.size();
}

bool LineReader::refill() {
  std::copy(buffer_.begin() + static_cast<ptrdiff_t>(begin_), buffer_.begin() + static_cast<ptrdiff_t>(end_),
            buffer_.begin());
  end_ -= begin_;
  begin_ = 0;
  if (buffer_.size() < end_ + piece_bytes_ + kPaddingBytes) {
    // Twofold growth keeps one very long line linear.
    buffer_.resize(std::max(end_ + piece_bytes_ + kPaddingBytes, 2 * buffer_.size()));
  }
  const size_t room = buffer_.size() - kPaddingBytes - end_;
  const size_t count = file_.read_some(file_offset_, std::as_writable_bytes(std::span(buffer_).subspan(end_, room)));
  file_offset_ += count;
  end_ += count;
  return count > 0;
}

std::optional<std::string_view> LineReader::next() {
  size_t searched = 0;  // of the unread bytes
  while (true) {
    const std::string_view unread(buffer_.data() + begin_, end_ - begin_);
    const size_t newline = unread.find('\n', searched);
    if (newline != std::string_view::npos) {
      begin_ += newline + 1;
      ++line_number_;
      return unread.substr(0, newline);
    }
    searched = unread.size();
    if (refill()) continue;
    if (begin_ == end_) return std::nullopt;
    const std::string_view last(buffer_.data() + begin_, end_ - begin_);
    begin_ = end_;
    ++line_number_;
    return last;
  }
}

}  // namespace penstock
