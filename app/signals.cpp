#include "app/signals.h"

#include <atomic>
#include <csignal>

namespace penstock {
namespace {

std::atomic<bool> stop_flag = false;
static_assert(std::atomic<bool>::is_always_lock_free);

void request_stop(int signal) {
  stop_flag = true;
  std::signal(signal, SIG_DFL);
}

}  // namespace

void watch_stop_signals() {
  std::signal(SIGINT, request_stop);
  std::signal(SIGTERM, request_stop);
}

bool stop_requested() { return stop_flag; }

}  // namespace penstock
