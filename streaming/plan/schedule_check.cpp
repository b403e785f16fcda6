// Races by full reachability: one bit row per op, built from lane order and waits alone. Deliberately not the builder's
// vector clocks, so that an error in one does not hide in the other.
// Cost: ops^2 / 8 bytes; 2 x 5,000 ops (200 blocks, 8 micro-batches, two steps) are 12 MB.
#include "streaming/plan/schedule_check.h"

#include <set>
#include <utility>

#include "core/check.h"

namespace penstock {
namespace {

constexpr size_t kMaxFindings = 20;

class Reachability {
 public:
  explicit Reachability(size_t op_count) : words_(op_count / 64 + 1), bits_(op_count * words_) {}

  // All that precedes `before`, and `before` itself, precedes `op`. `before`'s own edges must be complete.
  void add_edge(size_t before, size_t op) {
    uint64_t* row = &bits_[op * words_];
    const uint64_t* earlier = &bits_[before * words_];
    for (size_t i = 0; i < words_; ++i) row[i] |= earlier[i];
    row[before / 64] |= uint64_t{1} << (before % 64);
  }
  bool precedes(size_t before, size_t op) const { return (bits_[op * words_ + before / 64] >> (before % 64)) & 1u; }

 private:
  size_t words_;
  std::vector<uint64_t> bits_;  // row of op: its predecessors
};

// One schedule, or two in a row, as one numbering of ops.
struct Sequence {
  std::vector<const Schedule*> steps;

  size_t op_count() const {
    size_t count = 0;
    for (const Schedule* step : steps) count += step->ops().size();
    return count;
  }
};

Reachability reach(const Sequence& sequence) {
  Reachability reachability(sequence.op_count());
  int64_t newest[kLaneCount] = {-1, -1, -1, -1};
  int64_t join = -1;  // last host op of the step before
  size_t base = 0;
  for (const Schedule* step : sequence.steps) {
    for (size_t i = 0; i < step->ops().size(); ++i) {
      const Op& op = step->ops()[i];
      const size_t lane = static_cast<size_t>(op.lane);
      if (newest[lane] >= 0) reachability.add_edge(static_cast<size_t>(newest[lane]), base + i);
      if (join >= 0) reachability.add_edge(static_cast<size_t>(join), base + i);
      for (const OpIndex producer : op.waits) reachability.add_edge(base + producer, base + i);
      newest[lane] = static_cast<int64_t>(base + i);
    }
    join = newest[static_cast<size_t>(LaneKind::kHost)];
    base += step->ops().size();
  }
  return reachability;
}

struct Touch {
  size_t op;  // in the sequence's numbering
  size_t step;
  OpIndex local;  // in its step's
  bool writes;
};

// Per buffer, who touches it, in list order; an op that reads and writes comes once, as a writer.
std::vector<std::vector<Touch>> touches_by_buffer(const Sequence& sequence) {
  std::vector<std::vector<Touch>> touches(sequence.steps.front()->buffers().size());
  size_t base = 0;
  for (size_t step = 0; step < sequence.steps.size(); ++step) {
    const std::vector<Op>& ops = sequence.steps[step]->ops();
    for (OpIndex i = 0; i < ops.size(); ++i) {
      for (const Access& access : ops[i].accesses) {
        std::vector<Touch>& list = touches[access.buffer];
        if (list.empty() || list.back().op != base + i) list.push_back({base + i, step, i, false});
        if (access.mode == Mode::kWrite) list.back().writes = true;
      }
    }
    base += ops.size();
  }
  return touches;
}

std::string name_of(const Sequence& sequence, const Touch& touch) {
  const Schedule& step = *sequence.steps[touch.step];
  std::string text = op_label(step.ops()[touch.local], step.block_count()) + " [op " + std::to_string(touch.local);
  if (sequence.steps.size() > 1) text += touch.step == 0 ? ", first step" : ", second step";
  return text + (touch.writes ? "] writes" : "] reads");
}

std::vector<ScheduleFinding> races(const Sequence& sequence) {
  const Reachability reachability = reach(sequence);
  const std::vector<std::vector<Touch>> touches = touches_by_buffer(sequence);
  const Schedule& first = *sequence.steps.front();
  std::vector<ScheduleFinding> findings;
  std::set<std::pair<size_t, size_t>> reported;  // a pair may meet in several buffers
  for (BufferIndex buffer = 0; buffer < touches.size(); ++buffer) {
    const std::vector<Touch>& list = touches[buffer];
    for (size_t later = 1; later < list.size(); ++later) {
      for (size_t earlier = 0; earlier < later; ++earlier) {
        const Touch& a = list[earlier];
        const Touch& b = list[later];
        if (!(a.writes || b.writes) || reachability.precedes(a.op, b.op)) continue;
        if (!reported.emplace(a.op, b.op).second) continue;
        findings.push_back({"race on " + buffer_label(first.buffers()[buffer], first.block_count()) + ": " +
                            name_of(sequence, a) + " it and " + name_of(sequence, b) +
                            " it, with no order between them"});
        if (findings.size() == kMaxFindings) return findings;
      }
    }
  }
  return findings;
}

}  // namespace

std::vector<ScheduleFinding> find_races(const Schedule& schedule) { return races({{&schedule}}); }

std::vector<ScheduleFinding> find_join_races(const Schedule& first, const Schedule& second) {
  CHECK(first.buffers() == second.buffers());
  CHECK_EQ(first.block_count(), second.block_count());
  return races({{&first, &second}});
}

}  // namespace penstock
