#include "core/check.h"
#include "core/random.h"
#include "streaming/executor.h"

namespace penstock {

OrderedExecutor::OrderedExecutor(Device& device, LayerStore& store, const OpHandlers& handlers,
                                 std::optional<uint64_t> seed)
    : device_(device), store_(store), handlers_(handlers), seed_(seed) {}

void OrderedExecutor::run(const Schedule& schedule) {
  ++step_;
  std::vector<bool> done(schedule.ops().size(), false);
  for (size_t count = 0; count < schedule.ops().size(); ++count) {
    const OpIndex next = seed_ ? pick(schedule, done) : static_cast<OpIndex>(count);
    OpContext context(schedule, next, step_, store_, device_);
    handlers_.run(context);
    device_.synchronize_all();
    done[next] = true;
  }
}

// One of the ops that are first on their lane and whose producers are done.
OpIndex OrderedExecutor::pick(const Schedule& schedule, const std::vector<bool>& done) {
  std::vector<OpIndex> ready;
  for (int lane = 0; lane < kLaneCount; ++lane) {
    for (OpIndex op : schedule.lane(static_cast<LaneKind>(lane))) {
      if (done[op]) continue;
      bool producers_done = true;
      for (OpIndex producer : schedule.ops()[op].waits) producers_done &= done[producer];
      if (producers_done) ready.push_back(op);
      break;
    }
  }
  CHECK(!ready.empty());
  return ready[CounterRandom(*seed_, 0).below(draws_++, ready.size())];
}

}  // namespace penstock
