// Runs a schedule. The only path a step can take: there is no loop over layers anywhere else.
//
// Executor: four lanes, each with one issuing thread that walks its ops in list order. Before an op is issued its
// producers on other lanes must have been issued (tickets); a device lane then enqueues a device-side wait, the host
// lane blocks. A handler that throws stops every lane; run() rethrows with the op's name and nothing hangs.
// OrderedExecutor: one thread, one op at a time, in list order or in a seeded random legal order. For tests: whatever
// order the schedule allows must give the same bits.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "core/trace.h"
#include "streaming/op_context.h"
#include "streaming/ticket_board.h"

namespace penstock {

class StepRunner {
 public:
  virtual ~StepRunner() = default;
  // Returns when the schedule's last host op is done. Throws the first error of any lane.
  virtual void run(const Schedule& schedule) = 0;
  // Calls `work` on the thread that issues the lane's ops, between steps; throws what it throws.
  virtual void call(LaneKind lane, const std::function<void()>& work) = 0;
};

#ifdef NDEBUG
inline constexpr bool kPoisonsByDefault = false;
#else
inline constexpr bool kPoisonsByDefault = true;
#endif

struct ExecutorOptions {
  bool poisons_released_slots = kPoisonsByDefault;  // a weight slot is filled with NaN after its last reader
  TraceRecorder* trace = nullptr;
  IssueObserver* observer = nullptr;
};

class Executor final : public StepRunner {
 public:
  Executor(Device& device, LayerStore& store, const OpHandlers& handlers, const ExecutorOptions& options = {});
  ~Executor() override;
  void run(const Schedule& schedule) override;
  void call(LaneKind lane, const std::function<void()>& work) override;

 private:
  void lane_loop(LaneKind lane);
  void issue_lane(LaneKind lane);
  // False: the step failed.
  bool wait_for_producers(const Op& op);
  void issue(OpIndex op);
  void issue_device_op(OpContext& context, OpIndex op);
  // Marks on device lanes become times, once the step is over.
  void resolve_trace();
  void stop_step(const std::exception_ptr& error);
  void stop_threads();

  Device& device_;
  LayerStore& store_;
  const OpHandlers& handlers_;
  ExecutorOptions options_;
  TicketBoard tickets_;
  // One event per op instance, in a ring of two steps.
  std::vector<std::unique_ptr<Event>> events_[2];
  // Of the device ops of one step, where it is traced.
  struct Marks {
    std::unique_ptr<TimingEvent> begin, end;
  };
  std::vector<Marks> marks_;
  std::mutex mutex_;
  std::condition_variable start_;
  std::condition_variable finished_;
  const Schedule* schedule_ = nullptr;
  std::vector<std::vector<BufferIndex>> released_;  // slots to poison after an op; empty: none are
  uint64_t step_ = 0;
  int lanes_running_ = 0;
  const std::function<void()>* call_ = nullptr;  // waits for call_lane_'s thread
  LaneKind call_lane_ = LaneKind::kHost;
  bool stopping_ = false;
  std::exception_ptr first_error_;
  std::vector<std::thread> threads_;
};

class OrderedExecutor final : public StepRunner {
 public:
  // Without a seed: list order.
  OrderedExecutor(Device& device, LayerStore& store, const OpHandlers& handlers, std::optional<uint64_t> seed);
  void run(const Schedule& schedule) override;
  void call(LaneKind, const std::function<void()>& work) override { work(); }

 private:
  OpIndex pick(const Schedule& schedule, const std::vector<bool>& done);

  Device& device_;
  LayerStore& store_;
  const OpHandlers& handlers_;
  std::optional<uint64_t> seed_;
  uint64_t step_ = 0;
  uint64_t draws_ = 0;
};

}  // namespace penstock
