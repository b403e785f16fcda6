// Small random ops over a small table, for tests against brute force. Kinds and labels mean nothing here.
#pragma once

#include <algorithm>
#include <random>
#include <vector>

#include "streaming/plan/schedule_builder.h"

namespace penstock {

inline BufferTable random_table(std::mt19937& random) {
  BufferTable table;
  const int count = static_cast<int>(random() % 5) + 1;
  for (int i = 0; i < count; ++i)
    table.add({.kind = BufferKind::kWeightSlot, .index = i, .bytes = 1 + random() % 1000});
  return table;
}

inline Op random_op(std::mt19937& random, size_t buffer_count) {
  Op op{.kind = static_cast<OpKind>(random() % kOpKindCount),
        .lane = static_cast<LaneKind>(random() % kLaneCount),
        .layer = 0,
        .micro_batch = -1,
        .accesses = {},
        .waits = {}};
  const size_t accesses = 1 + random() % 3;
  for (size_t i = 0; i < accesses; ++i) {
    const BufferIndex buffer = static_cast<BufferIndex>(random() % buffer_count);
    const unsigned mode = random() % 3;  // read, write, or both with the read first
    if (mode != 1) op.accesses.push_back({buffer, Mode::kRead});
    if (mode != 0) op.accesses.push_back({buffer, Mode::kWrite});
  }
  return op;
}

// Waits at random: at most one a lane, ascending, never on the own lane.
inline std::vector<OpIndex> random_waits(std::mt19937& random, const std::vector<Op>& ops, LaneKind lane) {
  std::vector<OpIndex> waits;
  for (int other = 0; other < kLaneCount; ++other) {
    if (static_cast<LaneKind>(other) == lane || random() % 2 == 0) continue;
    std::vector<OpIndex> candidates;
    for (OpIndex i = 0; i < ops.size(); ++i) {
      if (static_cast<int>(ops[i].lane) == other) candidates.push_back(i);
    }
    if (!candidates.empty()) waits.push_back(candidates[random() % candidates.size()]);
  }
  std::sort(waits.begin(), waits.end());
  return waits;
}

inline Schedule random_schedule(std::mt19937& random, const BufferTable& table) {
  const size_t count = 1 + random() % 14;
  std::vector<Op> ops;
  for (size_t i = 0; i < count; ++i) {
    Op op = random_op(random, table.size());
    op.waits = random_waits(random, ops, op.lane);
    ops.push_back(op);
  }
  return Schedule(StepVariant::kTrain, 1, table, ops);
}

inline Schedule random_schedule(std::mt19937& random) { return random_schedule(random, random_table(random)); }

// The same kind of ops, ordered by the builder.
inline Schedule random_built_schedule(std::mt19937& random, const BufferTable& table) {
  const size_t count = 1 + random() % 14;
  ScheduleBuilder builder(StepVariant::kTrain, 1, table);
  for (size_t i = 0; i < count; ++i) builder.emit(random_op(random, table.size()));
  return std::move(builder).build();
}

inline Schedule random_built_schedule(std::mt19937& random) {
  return random_built_schedule(random, random_table(random));
}

}  // namespace penstock
