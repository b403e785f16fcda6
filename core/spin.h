// Busy waiting for a few microseconds, where sleeping would cost more than the wait itself.
// Not a lock: the caller falls back to a condition variable.
#pragma once

#include <thread>

namespace penstock {

// Tells the core that this thread spins.
inline void spin_pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// About 10 to 30 us: the time a sleeping thread needs to wake up.
inline constexpr int kSpinRounds = 1000;

// True as soon as `done` is; false if it still is not after kSpinRounds looks.
template <typename Done>
bool spin_until(const Done& done) {
  for (int round = 0; round < kSpinRounds; ++round) {
    if (done()) return true;
    spin_pause();
  }
  return false;
}

}  // namespace penstock
