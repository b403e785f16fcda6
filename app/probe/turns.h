// Cases that are compared run in turns, so that whatever else the machine does hits all of them; medians then.
// Not a benchmark library: a case takes its own sample and says what it was.
#pragma once

#include <functional>
#include <span>
#include <vector>

namespace penstock {

struct TurnLimits {
  int rounds = 9;
  double seconds = 5;  // no round begins, and after the first round no sample either, when so much time has passed
};

double median(std::vector<double> values);

// The median of each case's samples. Every case runs once at least: whoever makes the cases bounds one sample.
std::vector<double> medians_by_turns(std::span<const std::function<double()>> cases, const TurnLimits& limits);

// Seconds on a clock that only runs forward.
double now_seconds();
// How long `work` took.
double seconds_of(const std::function<void()>& work);

}  // namespace penstock
