// How long a run takes from the command to the end of its first step, by phase. One line for the person who waits.
// Not the profile of a step: that is the trace's.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

namespace penstock {

// In order of the line. Each second belongs to the phase that was entered last.
enum class StartUpPhase : uint8_t {
  kProgram,        // loading the program and its libraries, reading the configuration
  kConfiguration,  // model folder, plan, schedule checks
  kData,           // documents into memory
  kMemory,         // mapping host memory and first touch
  kWeights,        // loaded, drawn or resumed
  kDevice,         // device memory, pinning, lanes
  kFirstStep,
};
inline constexpr int kStartUpPhaseCount = 7;

using StartUpTimes = std::array<double, kStartUpPhaseCount>;  // seconds

class StartUpClock {
 public:
  // Begins in kConfiguration; what the process did before is kProgram.
  StartUpClock();
  void enter(StartUpPhase phase);
  // The same, passing `value` on: for lists of initialisers.
  template <typename T>
  T entering(StartUpPhase phase, T value) {
    enter(phase);
    return value;
  }
  // Closes the last phase. The times go on if it is called again.
  StartUpTimes finish();

 private:
  std::chrono::steady_clock::time_point entered_;
  StartUpPhase phase_ = StartUpPhase::kConfiguration;
  StartUpTimes seconds_ = {};
};

// Seconds since this process was started; 0 where the system does not tell.
double process_age_seconds();

// "start-up 3.42 s: program 0.35, configuration 0.10, data 0.31, memory 0.80 (4.00 GiB touched at 0.200 s/GiB), weights
// 1.20, device 0.05, first step 0.61". The rate is left out where it would be the cost of starting threads.
std::string format_start_up(const StartUpTimes& times, uint64_t mapped_bytes);

}  // namespace penstock
