#include "streaming/executor.h"

#include <algorithm>

#include "core/check.h"
#include "core/poison.h"
#include "core/thread_start.h"

namespace penstock {
namespace {

bool is_weight_slot(BufferKind kind) { return kind == BufferKind::kWeightSlot || kind == BufferKind::kHeadSlot; }

bool reads(const Op& op, BufferIndex buffer) {
  return std::find(op.accesses.begin(), op.accesses.end(), Access{buffer, Mode::kRead}) != op.accesses.end();
}

// For each op the weight slots whose last reader it is before the slot is written anew or the step ends. A fetch that
// fills a slot up, which reads and writes it, does neither.
std::vector<std::vector<BufferIndex>> slots_released_after(const Schedule& schedule) {
  std::vector<std::vector<BufferIndex>> released(schedule.ops().size());
  std::vector<int64_t> last_reader(schedule.buffers().size(), -1);
  const auto release = [&](BufferIndex slot) {
    if (last_reader[slot] >= 0) released[static_cast<size_t>(last_reader[slot])].push_back(slot);
    last_reader[slot] = -1;
  };
  for (size_t index = 0; index < schedule.ops().size(); ++index) {
    const Op& op = schedule.ops()[index];
    for (const Access& access : op.accesses) {
      if (!is_weight_slot(schedule.buffers()[access.buffer].kind)) continue;
      if (op.kind != OpKind::kFetch) {
        last_reader[access.buffer] = static_cast<int64_t>(index);
      } else if (!reads(op, access.buffer)) {
        release(access.buffer);
      }
    }
  }
  for (BufferIndex slot = 0; slot < schedule.buffers().size(); ++slot) release(slot);
  return released;
}

}  // namespace

Executor::Executor(Device& device, LayerStore& store, const OpHandlers& handlers, const ExecutorOptions& options)
    : device_(device), store_(store), handlers_(handlers), options_(options) {
  try {
    for (int lane = 0; lane < kLaneCount; ++lane) {
      const auto kind = static_cast<LaneKind>(lane);
      threads_.push_back(start_thread("issue " + std::string(lane_name(kind)), [this, kind] { lane_loop(kind); }));
    }
  } catch (...) {
    stop_threads();
    throw;
  }
}

Executor::~Executor() { stop_threads(); }

void Executor::stop_threads() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  start_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Executor::run(const Schedule& schedule) {
  const size_t op_count = schedule.ops().size();
  for (auto& ring : events_) {
    while (ring.size() < op_count) ring.push_back(device_.create_event());
  }
  if (options_.poisons_released_slots) released_ = slots_released_after(schedule);
  if (options_.trace != nullptr) {
    options_.trace->begin_step();
    while (marks_.size() < op_count) {
      marks_.push_back({device_.create_timing_event(), device_.create_timing_event()});
    }
  }
  std::unique_lock lock(mutex_);
  CHECK_EQ(lanes_running_, 0);
  ++step_;
  tickets_.begin_step(step_, op_count);
  schedule_ = &schedule;
  lanes_running_ = kLaneCount;
  first_error_ = nullptr;
  start_.notify_all();
  finished_.wait(lock, [&] { return lanes_running_ == 0; });
  if (!first_error_ && options_.trace != nullptr) resolve_trace();
  schedule_ = nullptr;
  if (!first_error_) return;
  // Work that is still queued refers to this step's batch: let it pass before the caller unwinds.
  device_.drain();
  std::rethrow_exception(first_error_);
}

void Executor::call(LaneKind lane, const std::function<void()>& work) {
  std::unique_lock lock(mutex_);
  CHECK_EQ(lanes_running_, 0);
  first_error_ = nullptr;
  call_ = &work;
  call_lane_ = lane;
  start_.notify_all();
  finished_.wait(lock, [&] { return call_ == nullptr; });
  if (first_error_) std::rethrow_exception(first_error_);
}

void Executor::lane_loop(LaneKind lane) {
  uint64_t seen_step = 0;
  std::unique_lock lock(mutex_);
  while (true) {
    const auto is_called = [&] { return call_ != nullptr && call_lane_ == lane; };
    start_.wait(lock, [&] { return stopping_ || step_ != seen_step || is_called(); });
    if (stopping_) return;
    if (is_called()) {
      try {
        (*call_)();
      } catch (...) {
        first_error_ = std::current_exception();
      }
      call_ = nullptr;
      finished_.notify_all();
      continue;
    }
    seen_step = step_;
    lock.unlock();
    issue_lane(lane);
    lock.lock();
    if (--lanes_running_ == 0) finished_.notify_all();
  }
}

void Executor::issue_lane(LaneKind lane) {
  for (OpIndex op : schedule_->lane(lane)) {
    try {
      if (!wait_for_producers(schedule_->ops()[op])) return;
      issue(op);
    } catch (...) {
      stop_step(std::current_exception());
      return;
    }
  }
}

bool Executor::wait_for_producers(const Op& op) {
  for (OpIndex producer : op.waits) {
    if (!tickets_.wait(producer, op, options_.observer)) return false;
    // A host op is done when its ticket is out; a device op has only been enqueued.
    if (schedule_->ops()[producer].lane == LaneKind::kHost) continue;
    const Event& event = *events_[step_ % 2][producer];
    if (op.lane == LaneKind::kHost)
      device_.synchronize(event);
    else
      device_.wait(op.lane, event);
  }
  return !tickets_.failed();
}

void Executor::issue(OpIndex index) {
  const Op& op = schedule_->ops()[index];
  if (options_.observer != nullptr) options_.observer->before_run(op);
  OpContext context(*schedule_, index, step_, store_, device_);
  if (op.lane == LaneKind::kHost) {
    const int64_t begin_ns = options_.trace == nullptr ? 0 : TraceRecorder::now_ns();
    handlers_.run(context);
    if (options_.trace != nullptr) options_.trace->record(index, op.lane, begin_ns, TraceRecorder::now_ns());
  } else {
    issue_device_op(context, index);
  }
  tickets_.issue(index);
}

void Executor::issue_device_op(OpContext& context, OpIndex index) {
  const LaneKind lane = context.op().lane;
  if (options_.trace != nullptr) device_.record(lane, *marks_[index].begin);
  handlers_.run(context);
  if (options_.poisons_released_slots) {
    for (const BufferIndex slot : released_[index]) device_.fill(lane, store_.bytes(slot), kPoison);
  }
  if (options_.trace != nullptr) device_.record(lane, *marks_[index].end);
  device_.record(lane, *events_[step_ % 2][index]);
}

void Executor::resolve_trace() {
  for (OpIndex index = 0; index < schedule_->ops().size(); ++index) {
    const LaneKind lane = schedule_->ops()[index].lane;
    if (lane == LaneKind::kHost) continue;
    const int64_t begin_ns = device_.time_ns(*marks_[index].begin);
    // The times are a driver's word: a pair that is odd must not end the run.
    const int64_t end_ns = std::max(begin_ns, device_.time_ns(*marks_[index].end));
    options_.trace->record(index, lane, begin_ns, end_ns);
  }
}

void Executor::stop_step(const std::exception_ptr& error) {
  {
    const std::lock_guard lock(mutex_);
    if (!first_error_) first_error_ = error;
  }
  tickets_.fail();
}

}  // namespace penstock
