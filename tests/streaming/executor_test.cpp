// The executor on runs in miniature and on schedules made for the purpose: tickets, errors, declared buffers.
#include "streaming/executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "core/error.h"
#include "core/host_device.h"
#include "streaming/plan/schedule_builder.h"
#include "tiny_run.h"

namespace penstock {
namespace {

// Opens once; waiting after that returns at once.
class Gate {
 public:
  void open() {
    {
      const std::lock_guard lock(mutex_);
      open_ = true;
    }
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

// A producer on the fetch lane and a consumer on the compute lane, over one slot.
class TwoOps {
 public:
  TwoOps() : schedule_(make_schedule()) {
    ModelConfig model = tiny_model(1);
    memory_ = std::make_unique<ModelMemory>(RunShape{.model = model, .format = StateFormat::kFloat32}, BufferTable());
    store_ = std::make_unique<LayerStore>(schedule_.buffers(), *memory_, device_);
  }

  static Schedule make_schedule() {
    BufferTable buffers;
    const BufferIndex source = buffers.add({.kind = BufferKind::kEmbedStaging, .bytes = 8});
    const BufferIndex slot = buffers.add({.kind = BufferKind::kWeightSlot, .bytes = 8});
    const BufferIndex loss = buffers.add({.kind = BufferKind::kLoss, .bytes = 8});
    const BufferIndex host_loss = buffers.add({.kind = BufferKind::kHostLoss, .bytes = 8});
    ScheduleBuilder builder(StepVariant::kEval, 1, buffers);
    builder.emit({.kind = OpKind::kFetch,
                  .lane = LaneKind::kFetch,
                  .layer = 1,
                  .accesses = {{source, Mode::kRead}, {slot, Mode::kWrite}},
                  .waits = {}});
    builder.emit({.kind = OpKind::kForward,
                  .lane = LaneKind::kCompute,
                  .layer = 1,
                  .micro_batch = 0,
                  .accesses = {{slot, Mode::kRead}, {loss, Mode::kWrite}},
                  .waits = {}});
    builder.emit({.kind = OpKind::kOffloadLoss,
                  .lane = LaneKind::kOffload,
                  .accesses = {{loss, Mode::kRead}, {host_loss, Mode::kWrite}},
                  .waits = {}});
    builder.emit(
        {.kind = OpKind::kReport, .lane = LaneKind::kHost, .accesses = {{host_loss, Mode::kRead}}, .waits = {}});
    return std::move(builder).build();
  }

  OpHandlers copying_handlers() {
    OpHandlers handlers;
    handlers.set(OpKind::kFetch, [](OpContext& context) {
      context.copy(context.write(BufferKind::kWeightSlot), context.read(BufferKind::kEmbedStaging));
    });
    handlers.set(OpKind::kForward, [](OpContext& context) {
      const auto from = context.read(BufferKind::kWeightSlot);
      const auto to = context.write(BufferKind::kLoss);
      context.launch([=] { std::copy(from.begin(), from.end(), to.begin()); });
    });
    handlers.set(OpKind::kOffloadLoss, [](OpContext& context) {
      context.copy(context.write(BufferKind::kHostLoss), context.read(BufferKind::kLoss));
    });
    handlers.set(OpKind::kReport, [](OpContext&) {});
    return handlers;
  }

  std::span<std::byte> bytes(BufferKind kind) { return store_->bytes(schedule_.buffers().find(kind)); }
  const Schedule& schedule() const { return schedule_; }
  LayerStore& store() { return *store_; }
  HostDevice& device() { return device_; }

 private:
  Schedule schedule_;
  HostDevice device_{HostDeviceOptions{}};
  std::unique_ptr<ModelMemory> memory_;
  std::unique_ptr<LayerStore> store_;
};

// Holds the fetch back until its consumer has asked for the ticket (`takes_tickets`) or, without tickets, has run.
class LateFetch final : public IssueObserver {
 public:
  explicit LateFetch(bool takes_tickets) : takes_tickets_(takes_tickets) {}

  bool before_ticket(const Op& consumer, OpIndex) override {
    if (consumer.lane != LaneKind::kCompute) return true;
    if (takes_tickets_) consumer_waits_.open();
    return takes_tickets_;
  }
  void before_run(const Op& op) override {
    if (op.kind != OpKind::kFetch) return;
    consumer_waits_.wait();
    // A consumer that does not wait for the ticket runs now. One that does cannot: this ends by count.
    for (int turn = 0; turn < 2000 && !consumer_ran_; ++turn) std::this_thread::yield();
  }
  void consumer_ran() {
    consumer_ran_ = true;
    consumer_waits_.open();
  }

 private:
  bool takes_tickets_;
  Gate consumer_waits_;
  std::atomic<bool> consumer_ran_ = false;
};

std::byte run_with_late_fetch(bool takes_tickets) {
  TwoOps ops;
  OpHandlers handlers = ops.copying_handlers();
  std::fill(ops.bytes(BufferKind::kEmbedStaging).begin(), ops.bytes(BufferKind::kEmbedStaging).end(), std::byte{42});
  LateFetch late_fetch(takes_tickets);
  handlers.set(OpKind::kForward, [&late_fetch](OpContext& context) {
    const auto from = context.read(BufferKind::kWeightSlot);
    const auto to = context.write(BufferKind::kLoss);
    context.launch([from, to, &late_fetch] {
      std::copy(from.begin(), from.end(), to.begin());
      late_fetch.consumer_ran();
    });
  });
  Executor executor(ops.device(), ops.store(), handlers, {.observer = &late_fetch});
  executor.run(ops.schedule());
  return ops.bytes(BufferKind::kHostLoss)[0];
}

// Waiting on an event that is not recorded is no wait at all: without the ticket the consumer reads too early.
TEST(Executor, WithoutTicketsAConsumerRunsBeforeItsProducer) { EXPECT_EQ(run_with_late_fetch(false), std::byte{0}); }

TEST(Executor, AConsumerTakesItsDeviceWaitOnlyAfterTheProducerWasIssued) {
  for (int round = 0; round < 50; ++round) ASSERT_EQ(run_with_late_fetch(true), std::byte{42});
}

TEST(Executor, AHandlerThatThrowsStopsEveryLaneWithTheOpsName) {
  for (const OpKind kind : {OpKind::kFetch, OpKind::kForward, OpKind::kOffloadLoss, OpKind::kReport}) {
    TwoOps ops;
    OpHandlers handlers = ops.copying_handlers();
    handlers.set(kind, [](OpContext& context) {
      if (context.op().lane == LaneKind::kHost) throw std::runtime_error("broken");
      context.launch([] { throw std::runtime_error("broken"); });
    });
    Executor executor(ops.device(), ops.store(), handlers);
    try {
      executor.run(ops.schedule());
      FAIL() << "no error";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::StartsWith(std::string(op_kind_name(kind))));
      EXPECT_THAT(error.what(), testing::EndsWith(": broken"));
    }
  }
}

// The device has threads: the dying process must be started anew, not forked.
class ExecutorDeathTest : public testing::Test {
 protected:
  ExecutorDeathTest() { testing::FLAGS_gtest_death_test_style = "threadsafe"; }
};

TEST_F(ExecutorDeathTest, AHandlerGetsOnlyTheBuffersItsOpDeclared) {
  TwoOps ops;
  OpHandlers handlers = ops.copying_handlers();
  handlers.set(OpKind::kForward, [](OpContext& context) { (void)context.read(BufferKind::kEmbedStaging); });
  OrderedExecutor executor(ops.device(), ops.store(), handlers, std::nullopt);
  EXPECT_DEATH(executor.run(ops.schedule()), "check failed");
}

TEST_F(ExecutorDeathTest, AUseOfASlotThatHoldsAnotherLayerDies) {
  TwoOps ops;
  OpHandlers handlers = ops.copying_handlers();
  handlers.set(OpKind::kFetch, [](OpContext& context) { context.tag_slot(BufferKind::kWeightSlot, 1); });
  handlers.set(OpKind::kForward, [](OpContext& context) { context.check_slot(BufferKind::kWeightSlot, 2); });
  OrderedExecutor executor(ops.device(), ops.store(), handlers, std::nullopt);
  EXPECT_DEATH(executor.run(ops.schedule()), "layout_hash");
}

TEST(Executor, RunsManyStepsWithTraceInScheduleOrder) {
  TinySettings settings;
  settings.engine.traces = true;
  TinyRun run(settings);
  run.losses(0, 3);
  const std::vector<TraceEvent> events = run.engine().trace()->events();
  const Schedule& schedule = run.engine().schedule(StepVariant::kTrainPending);
  ASSERT_EQ(events.size(), schedule.ops().size());
  std::vector<int64_t> end_ns(events.size());
  for (const TraceEvent& event : events) {
    EXPECT_LE(event.begin_ns, event.end_ns);
    end_ns[event.op] = event.end_ns;
  }
  for (const TraceEvent& event : events) {
    for (OpIndex producer : schedule.ops()[event.op].waits) EXPECT_GE(event.begin_ns, end_ns[producer]);
  }
}

}  // namespace
}  // namespace penstock
