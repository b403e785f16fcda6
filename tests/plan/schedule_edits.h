// Edits of a schedule that make it wrong on purpose.
#pragma once

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "streaming/plan/schedule.h"

namespace penstock {

inline Schedule with_ops(const Schedule& schedule, std::vector<Op> ops) {
  return Schedule(schedule.variant(), schedule.block_count(), schedule.buffers(), std::move(ops));
}

inline Schedule without_edge(const Schedule& schedule, OpIndex op, size_t wait) {
  std::vector<Op> ops = schedule.ops();
  ops[op].waits.erase(ops[op].waits.begin() + static_cast<std::ptrdiff_t>(wait));
  return with_ops(schedule, std::move(ops));
}

// Removes an op; waits are cleared, so this is for checks of contents only.
inline Schedule without_op(const Schedule& schedule, OpIndex removed) {
  std::vector<Op> ops = schedule.ops();
  ops.erase(ops.begin() + removed);
  for (Op& op : ops) op.waits.clear();
  return with_ops(schedule, std::move(ops));
}

// First op of the label, e.g. "Fetch(0)"; the number of ops when there is none.
inline OpIndex find_op(const Schedule& schedule, const std::string& label, OpIndex from = 0) {
  OpIndex i = from;
  while (i < schedule.ops().size() && op_label(schedule.ops()[i], schedule.block_count()) != label) ++i;
  return i;
}

inline Schedule with_edited_op(const Schedule& schedule, OpIndex index, const std::function<void(Op&)>& edit) {
  std::vector<Op> ops = schedule.ops();
  edit(ops[index]);
  return with_ops(schedule, std::move(ops));
}

// Every access of `from` by this op becomes one of `to`.
inline void redirect(Op& op, BufferIndex from, BufferIndex to) {
  for (Access& access : op.accesses) {
    if (access.buffer == from) access.buffer = to;
  }
}

}  // namespace penstock
