// Brute force: which ops are ordered, by Floyd-Warshall over lane order and waits. Slow and plain on purpose.
#pragma once

#include <set>
#include <utility>
#include <vector>

#include "streaming/plan/schedule.h"

namespace penstock {

using OpPair = std::pair<size_t, size_t>;

// Ops of all steps in one numbering.
inline std::vector<Op> concatenated(const std::vector<const Schedule*>& steps) {
  std::vector<Op> ops;
  for (const Schedule* step : steps) ops.insert(ops.end(), step->ops().begin(), step->ops().end());
  return ops;
}

// path[i][j]: op i ends before op j begins. Between steps: lanes stay FIFO, and the last host op of a step comes before
// all of the next.
inline std::vector<std::vector<bool>> ordered_pairs(const std::vector<const Schedule*>& steps) {
  const std::vector<Op> ops = concatenated(steps);
  const size_t n = ops.size();
  std::vector<std::vector<bool>> path(n, std::vector<bool>(n, false));
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = i + 1; j < n; ++j) path[i][j] = ops[i].lane == ops[j].lane;
  }
  size_t base = 0;
  for (const Schedule* step : steps) {
    const size_t end = base + step->ops().size();
    for (size_t i = base; i < end; ++i) {
      for (const OpIndex producer : ops[i].waits) path[base + producer][i] = true;
      for (size_t j = end; j < n; ++j) path[i][j] = path[i][j] || ops[i].lane == LaneKind::kHost;
    }
    base = end;
  }
  for (size_t k = 0; k < n; ++k) {
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < n; ++j) path[i][j] = path[i][j] || (path[i][k] && path[k][j]);
    }
  }
  return path;
}

inline bool conflict(const Op& a, const Op& b) {
  for (const Access& x : a.accesses) {
    for (const Access& y : b.accesses) {
      if (x.buffer == y.buffer && (x.mode == Mode::kWrite || y.mode == Mode::kWrite)) return true;
    }
  }
  return false;
}

inline std::set<OpPair> racing_pairs(const std::vector<const Schedule*>& steps) {
  const auto path = ordered_pairs(steps);
  const std::vector<Op> ops = concatenated(steps);
  std::set<OpPair> pairs;
  for (size_t i = 0; i < ops.size(); ++i) {
    for (size_t j = i + 1; j < ops.size(); ++j) {
      if (conflict(ops[i], ops[j]) && !path[i][j]) pairs.emplace(i, j);
    }
  }
  return pairs;
}

}  // namespace penstock
