// What a person sees: messages on standard error, results on standard output, one live line on a terminal.
// Messages go through spdlog's default logger, which start_console() points here, so that a message never lands in
// the middle of the live line.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

#include "app/run_config.h"

namespace penstock {

// One output stream with at most one live line at its end. Thread-safe.
class Console {
 public:
  using Writer = std::function<void(std::string_view)>;

  // `columns`: width that a live line is cut to; 0 where the stream is no terminal: it then has no live line.
  Console(Writer writer, int columns) : writer_(std::move(writer)), columns_(columns) {}

  bool is_terminal() const { return columns_ > 0; }
  // A line that stays; the live line moves below it.
  void print_line(std::string_view line);
  // Replaces the live line. Nothing happens where there is no terminal.
  void show_live(std::string_view line);
  // Leaves the live line standing as an ordinary one.
  void finish_live();

 private:
  std::mutex mutex_;
  Writer writer_;
  int columns_;
  std::string live_;
};

// Standard error.
Console& error_console();

// Sends spdlog's default logger to error_console(). Information has no prefix, other levels have their name.
void start_console(LogLevel level);

// One line on standard output, at once. Throws Error(kIo) if it cannot be written.
void print_result(std::string_view line);

// "950", "12.3k", "4.56M", "7.00B".
std::string format_count(double count);
// "12.3k tok/s".
std::string format_rate(double tokens_per_second);
// "0.4s", "59s", "3m05s", "1h02m", "2d03h"; "?" if it is not finite or negative.
std::string format_duration(double seconds);

}  // namespace penstock
