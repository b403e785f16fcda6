#include "app/console.h"

#include <fmt/format.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <memory>

#include "core/error.h"

namespace penstock {

namespace {

constexpr std::string_view kClearLine = "\r\x1b[K";

int terminal_columns(int descriptor) {
  if (isatty(descriptor) == 0) return 0;
  constexpr int kUsualColumns = 80;
  winsize size{};
  return ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : kUsualColumns;
}

// Hands finished messages to a Console; spdlog's base class brings the lock and the formatter.
class ConsoleSink final : public spdlog::sinks::base_sink<std::mutex> {
 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    std::string line;
    if (message.level != spdlog::level::info) {
      const spdlog::string_view_t name = spdlog::level::to_string_view(message.level);
      line.append(name.data(), name.size()).append(": ");
    }
    line.append(message.payload.data(), message.payload.size());
    error_console().print_line(line);
  }
  void flush_() override {}
};

spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      break;
  }
  return spdlog::level::err;
}

// Cuts to so many characters, never inside a UTF-8 character.
std::string_view cut(std::string_view line, size_t characters) {
  size_t seen = 0;
  for (size_t i = 0; i < line.size(); ++i) {
    const bool starts_character = (static_cast<unsigned char>(line[i]) & 0xC0) != 0x80;
    if (starts_character && seen++ == characters) return line.substr(0, i);
  }
  return line;
}

}  // namespace

void Console::print_line(std::string_view line) {
  const std::lock_guard lock(mutex_);
  std::string text;
  if (!live_.empty()) text += kClearLine;
  text.append(line).append("\n").append(live_);
  writer_(text);
}

void Console::show_live(std::string_view line) {
  if (!is_terminal()) return;
  const std::lock_guard lock(mutex_);
  live_ = cut(line, static_cast<size_t>(columns_ - 1));  // a full last column would wrap
  writer_(std::string(kClearLine) + live_);
}

void Console::finish_live() {
  const std::lock_guard lock(mutex_);
  if (!live_.empty()) writer_("\n");
  live_.clear();
}

Console& error_console() {
  static Console console(
      [](std::string_view text) {
        // A message that cannot be shown must not end a run.
        std::fwrite(text.data(), 1, text.size(), stderr);
        std::fflush(stderr);
      },
      terminal_columns(STDERR_FILENO));
  return console;
}

void start_console(LogLevel level) {
  auto logger = std::make_shared<spdlog::logger>("penstock", std::make_shared<ConsoleSink>());
  logger->set_level(spdlog_level(level));
  spdlog::set_default_logger(std::move(logger));
}

void print_result(std::string_view line) {
  const std::string text = std::string(line) + "\n";
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    throw Error(ExitCode::kIo, "standard output: cannot be written");
  }
}

std::string format_count(double count) {
  constexpr std::string_view kSuffixes[] = {"", "k", "M", "B", "T"};
  size_t index = 0;
  // 999.5 and more would round to four digits, so it takes the next suffix.
  while (std::abs(count) >= 999.5 && index + 1 < std::size(kSuffixes)) {
    count /= 1000;
    ++index;
  }
  if (index == 0) return fmt::format("{:.0f}", count);
  const int digits = std::abs(count) < 9.995 ? 2 : std::abs(count) < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f}{}", count, digits, kSuffixes[index]);
}

std::string format_rate(double tokens_per_second) { return format_count(tokens_per_second) + " tok/s"; }

std::string format_duration(double seconds) {
  constexpr double kLongest = 1e9;
  if (!std::isfinite(seconds) || seconds < 0 || seconds > kLongest) return "?";
  if (seconds < 9.95) return fmt::format("{:.1f}s", seconds);
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 60) return fmt::format("{}s", whole);
  if (whole < 3600) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  const int64_t minutes = whole / 60;
  if (minutes < 24 * 60) return fmt::format("{}h{:02}m", minutes / 60, minutes % 60);
  return fmt::format("{}d{:02}h", minutes / (24 * 60), minutes / 60 % 24);
}

}  // namespace penstock
