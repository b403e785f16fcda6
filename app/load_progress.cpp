#include "app/load_progress.h"

#include <fmt/format.h>

#include "core/bytes.h"

namespace penstock {

std::string format_loading(uint64_t done_bytes, uint64_t total_bytes) {
  return fmt::format("loading  {} of {}", format_bytes(done_bytes), format_bytes(total_bytes));
}

std::string format_touching(uint64_t done_bytes, uint64_t total_bytes) {
  return fmt::format("memory   {} of {}", format_bytes(done_bytes), format_bytes(total_bytes));
}

TouchOptions touch_shown_on(Console& console) {
  TouchOptions options;
  options.progress = [&console](uint64_t done_bytes, uint64_t total_bytes) {
    console.show_live(done_bytes == total_bytes ? "" : format_touching(done_bytes, total_bytes));
  };
  return options;
}

LoadOptions shown_on(Console& console) {
  LoadOptions options;
  options.progress = [&console](uint64_t done_bytes, uint64_t total_bytes) {
    console.show_live(format_loading(done_bytes, total_bytes));
    if (done_bytes == total_bytes) console.finish_live();
  };
  return options;
}

}  // namespace penstock
