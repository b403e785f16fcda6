#include "streaming/plan/schedule_builder.h"

#include <algorithm>
#include <utility>

#include "core/check.h"

namespace penstock {

ScheduleBuilder::ScheduleBuilder(StepVariant variant, int block_count, BufferTable buffers)
    : variant_(variant), block_count_(block_count), buffers_(std::move(buffers)), histories_(buffers_.size()) {
  newest_.fill(-1);
}

void ScheduleBuilder::emit(Op op) {
  CHECK(op.waits.empty());
  const OpIndex index = static_cast<OpIndex>(ops_.size());
  std::vector<OpIndex> producers;
  for (const Access& access : op.accesses) {
    CHECK_LT(access.buffer, histories_.size());
    BufferHistory& history = histories_[access.buffer];
    if (access.mode == Mode::kRead) {
      add_edge(history.last_write, op, producers);  // read after write
      history.reads_since_write.push_back(index);
      continue;
    }
    for (const OpIndex reader : history.reads_since_write) add_edge(reader, op, producers);  // write after read
    add_edge(history.last_write, op, producers);                                             // write after write
    history.last_write = index;
    history.reads_since_write.clear();
  }
  clocks_.push_back(reduce_waits(op, producers));
  newest_[static_cast<int>(op.lane)] = index;
  ops_.push_back(std::move(op));
}

void ScheduleBuilder::add_edge(int64_t producer, const Op& op, std::vector<OpIndex>& producers) const {
  const bool exists = producer >= 0 && producer < static_cast<int64_t>(ops_.size());  // else nobody, or the op itself
  if (!exists || ops_[static_cast<size_t>(producer)].lane == op.lane) return;
  producers.push_back(static_cast<OpIndex>(producer));
}

ScheduleBuilder::LaneClock ScheduleBuilder::reduce_waits(Op& op, const std::vector<OpIndex>& producers) const {
  LaneClock needed;  // newest producer of each lane: it implies the lane's older ones
  needed.fill(-1);
  for (const OpIndex producer : producers) {
    int64_t& newest = needed[static_cast<int>(ops_[producer].lane)];
    newest = std::max<int64_t>(newest, producer);
  }
  const int own_lane = static_cast<int>(op.lane);
  LaneClock clock;
  clock.fill(-1);
  if (newest_[own_lane] >= 0) clock = clocks_[static_cast<size_t>(newest_[own_lane])];
  for (int lane = 0; lane < kLaneCount; ++lane) {
    if (needed[lane] < 0) continue;
    bool implied = clock[lane] >= needed[lane];
    for (int other = 0; other < kLaneCount; ++other) {
      if (other == lane || needed[other] < 0) continue;
      implied = implied || clocks_[static_cast<size_t>(needed[other])][lane] >= needed[lane];
    }
    if (!implied) op.waits.push_back(static_cast<OpIndex>(needed[lane]));
  }
  std::sort(op.waits.begin(), op.waits.end());
  for (const OpIndex producer : op.waits) {
    for (int lane = 0; lane < kLaneCount; ++lane) clock[lane] = std::max(clock[lane], clocks_[producer][lane]);
  }
  clock[own_lane] = static_cast<int64_t>(ops_.size());
  return clock;
}

Schedule ScheduleBuilder::build() && { return Schedule(variant_, block_count_, std::move(buffers_), std::move(ops_)); }

}  // namespace penstock
