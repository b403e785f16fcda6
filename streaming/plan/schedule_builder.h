// Derives the order between ops from what they read and write.
// Not a scheduler: it never reorders, it only says who waits for whom.
// Invariant: ops on one lane run in list order, so only cross-lane edges are stored, and of those only the ones that no
// other path implies: deleting any edge of a built schedule makes it racy.
#pragma once

#include <array>
#include <vector>

#include "streaming/plan/schedule.h"

namespace penstock {

class ScheduleBuilder {
 public:
  ScheduleBuilder(StepVariant variant, int block_count, BufferTable buffers);
  // Appends; op.waits must be empty.
  void emit(Op op);
  Schedule build() &&;

 private:
  // The newest op of each lane that is known to end before an op begins (the op itself on its own lane); -1: none.
  using LaneClock = std::array<int64_t, kLaneCount>;
  struct BufferHistory {
    int64_t last_write = -1;
    std::vector<OpIndex> reads_since_write;
  };
  void add_edge(int64_t producer, const Op& op, std::vector<OpIndex>& producers) const;
  // Sets op.waits to those producers that no other path implies, and returns the op's clock.
  LaneClock reduce_waits(Op& op, const std::vector<OpIndex>& producers) const;

  StepVariant variant_;
  int block_count_;
  BufferTable buffers_;
  std::vector<BufferHistory> histories_;
  std::vector<Op> ops_;
  std::vector<LaneClock> clocks_;  // by op
  LaneClock newest_;               // newest op of each lane
};

}  // namespace penstock
