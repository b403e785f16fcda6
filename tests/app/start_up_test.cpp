#include "app/start_up.h"

#include <gtest/gtest.h>

#include <numeric>

#include "app/console.h"
#include "app/load_progress.h"
#include "core/bytes.h"

namespace penstock {
namespace {

TEST(StartUp, Line) {
  EXPECT_EQ(format_start_up({0.35, 0.1, 0.31, 0.8, 1.2, 0.05, 0.61}, 4 * kGiB),
            "start-up 3.42 s: program 0.35, configuration 0.10, data 0.31, memory 0.80 (4.00 GiB touched at 0.200 "
            "s/GiB), weights 1.20, device 0.05, first step 0.61");
  const std::string small = format_start_up({0, 0, 0, 0.01}, 2 * kMiB);
  EXPECT_NE(small.find("memory 0.01 (2.00 MiB touched), weights"), std::string::npos) << small;
  EXPECT_NE(format_start_up({}, 0).find("memory 0.00, weights"), std::string::npos);
}

TEST(StartUp, EverySecondBelongsToOnePhase) {
  using Clock = std::chrono::steady_clock;
  const auto spin = [] {
    for (const auto end = Clock::now() + std::chrono::milliseconds(2); Clock::now() < end;) {
    }
  };
  const Clock::time_point begin = Clock::now();
  StartUpClock clock;
  const double age = process_age_seconds();
  EXPECT_EQ(clock.entering(StartUpPhase::kData, 7), 7);
  spin();
  clock.enter(StartUpPhase::kWeights);
  spin();
  clock.enter(StartUpPhase::kData);  // again
  spin();
  const StartUpTimes times = clock.finish();
  const double spent = std::chrono::duration<double>(Clock::now() - begin).count();
  EXPECT_GE(times[static_cast<size_t>(StartUpPhase::kData)], 0.004);
  EXPECT_GE(times[static_cast<size_t>(StartUpPhase::kWeights)], 0.002);
  EXPECT_EQ(times[static_cast<size_t>(StartUpPhase::kDevice)], 0.0);
  const double program = times[static_cast<size_t>(StartUpPhase::kProgram)];
  EXPECT_GT(program, 0.0);
  EXPECT_LE(program, age);
  EXPECT_LE(std::accumulate(times.begin(), times.end(), 0.0), program + spent);
}

TEST(StartUp, TouchingShowsALiveLineThatGoes) {
  std::string written;
  Console console([&](std::string_view text) { written += text; }, 80);
  const TouchOptions options = touch_shown_on(console);
  options.progress(kGiB, 3 * kGiB);
  EXPECT_NE(written.find("memory   1.00 GiB of 3.00 GiB"), std::string::npos) << written;
  const size_t shown = written.size();
  options.progress(3 * kGiB, 3 * kGiB);
  EXPECT_EQ(written.find("GiB", shown), std::string::npos) << written;
}

}  // namespace
}  // namespace penstock
