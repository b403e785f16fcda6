#include "app/start_up.h"

#include <fmt/format.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <numeric>
#include <sstream>

#include "core/bytes.h"

namespace penstock {
namespace {

constexpr uint64_t kLeastRatedBytes = 64 * kMiB;

}  // namespace

StartUpClock::StartUpClock() : entered_(std::chrono::steady_clock::now()) {
  seconds_[static_cast<size_t>(StartUpPhase::kProgram)] = process_age_seconds();
}

void StartUpClock::enter(StartUpPhase phase) {
  const auto now = std::chrono::steady_clock::now();
  seconds_[static_cast<size_t>(phase_)] += std::chrono::duration<double>(now - entered_).count();
  entered_ = now;
  phase_ = phase;
}

StartUpTimes StartUpClock::finish() {
  enter(phase_);
  return seconds_;
}

// Field 22 of /proc/self/stat is the start, in clock ticks since boot; the name before it may hold spaces and brackets.
double process_age_seconds() {
  std::ifstream file("/proc/self/stat");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const size_t name_end = text.rfind(')');
  timespec now = {};
  if (name_end == std::string::npos || clock_gettime(CLOCK_BOOTTIME, &now) != 0) return 0;
  std::istringstream fields(text.substr(name_end + 1));
  std::string skipped;
  for (int field = 3; field < 22; ++field) fields >> skipped;
  double start_ticks = 0;
  if (!(fields >> start_ticks)) return 0;
  const double since_boot = static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
  return std::max(0.0, since_boot - start_ticks / static_cast<double>(sysconf(_SC_CLK_TCK)));
}

std::string format_start_up(const StartUpTimes& times, uint64_t mapped_bytes) {
  constexpr const char* kNames[kStartUpPhaseCount] = {"program", "configuration", "data",      "memory",
                                                      "weights", "device",        "first step"};
  std::string text = fmt::format("start-up {:.2f} s:", std::accumulate(times.begin(), times.end(), 0.0));
  for (size_t phase = 0; phase < times.size(); ++phase) {
    text += fmt::format("{} {} {:.2f}", phase == 0 ? "" : ",", kNames[phase], times[phase]);
    if (phase != static_cast<size_t>(StartUpPhase::kMemory) || mapped_bytes == 0) continue;
    text += fmt::format(" ({} touched", format_bytes(mapped_bytes));
    const double gib = static_cast<double>(mapped_bytes) / static_cast<double>(kGiB);
    text += mapped_bytes < kLeastRatedBytes ? ")" : fmt::format(" at {:.3f} s/GiB)", times[phase] / gib);
  }
  return text;
}

}  // namespace penstock
