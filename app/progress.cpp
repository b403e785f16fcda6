#include "app/progress.h"

#include <fmt/format.h>

#include "core/check.h"

namespace penstock {

Progress::Progress(Console& console, int64_t logging_steps, int64_t first_step)
    : console_(console), logging_steps_(logging_steps), first_step_(first_step) {
  CHECK_GE(logging_steps, 1);
  CHECK_GE(first_step, 0);
}

void Progress::update(const ProgressUpdate& update) {
  CHECK_GT(update.step, first_step_);
  const std::string line = format_progress(update, first_step_);
  if (console_.is_terminal()) {
    console_.show_live(line);
  } else if (update.step % logging_steps_ == 0 || update.step == update.total_steps) {
    console_.print_line(line);
  }
}

void Progress::finish() { console_.finish_live(); }

std::string format_progress(const ProgressUpdate& update, int64_t first_step) {
  std::string line = fmt::format("step {}", update.step);
  if (update.total_steps > 0) line += fmt::format("/{}", update.total_steps);
  line += update.skipped ? "  skipped" : fmt::format("  loss {:.4f}", update.loss);
  line += fmt::format("  lr {:.1e}  {}", update.learning_rate, format_rate(update.tokens_per_second));
  if (update.total_steps > 0) {
    const double step_seconds = update.elapsed_seconds / static_cast<double>(update.step - first_step);
    line += "  eta " + format_duration(step_seconds * static_cast<double>(update.total_steps - update.step));
  }
  return line;
}

}  // namespace penstock
