#include "app/probe/turns.h"

#include <algorithm>
#include <chrono>

#include "core/check.h"

namespace penstock {

double median(std::vector<double> values) {
  CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

std::vector<double> medians_by_turns(std::span<const std::function<double()>> cases, const TurnLimits& limits) {
  const double begin = now_seconds();
  std::vector<std::vector<double>> samples(cases.size());
  const auto is_late = [&] { return now_seconds() - begin >= limits.seconds; };
  for (int round = 0; round == 0 || (round < limits.rounds && !is_late()); ++round) {
    for (size_t i = 0; i < cases.size() && (round == 0 || !is_late()); ++i) samples[i].push_back(cases[i]());
  }
  std::vector<double> medians;
  for (std::vector<double>& values : samples) medians.push_back(median(std::move(values)));
  return medians;
}

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double seconds_of(const std::function<void()>& work) {
  const double begin = now_seconds();
  work();
  return now_seconds() - begin;
}

}  // namespace penstock
