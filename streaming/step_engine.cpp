#include "streaming/step_engine.h"

#include "core/check.h"
#include "streaming/host_handlers.h"

namespace penstock {
namespace {

std::unique_ptr<StepRunner> make_runner(Device& device, LayerStore& store, const OpHandlers& handlers,
                                        const EngineOptions& options, TraceRecorder* trace) {
  if (options.order == IssueOrder::kLanes) {
    return std::make_unique<Executor>(
        device, store, handlers,
        ExecutorOptions{
            .poisons_released_slots = options.poisons_released_slots, .trace = trace, .observer = options.observer});
  }
  std::optional<uint64_t> seed;
  if (options.order == IssueOrder::kRandom) seed = options.order_seed;
  return std::make_unique<OrderedExecutor>(device, store, handlers, seed);
}

size_t longest_schedule(const StepPlanner& planner) {
  const StepSettings& settings = planner.settings();
  // Ops of a training step: at most 8 a layer or part of the head, an update and a fetch for every piece of a layer, 2
  // for each layer or part and every micro-batch, and a few per micro-batch.
  const auto layers = static_cast<size_t>(settings.block_count + 2 + settings.head_parts);
  size_t pieces = 0;
  for (const Buffer& buffer : planner.buffers().all()) pieces += buffer.kind == BufferKind::kHostWire ? 1 : 0;
  return 8 * layers + 2 * pieces + static_cast<size_t>(settings.micro_batches) * (2 * layers + 8);
}

}  // namespace

StepEngine::StepEngine(const RunPlan& plan, ModelMemory& memory, Device& device, const EngineOptions& options)
    : plan_(plan),
      memory_(memory),
      device_(device),
      team_(WorkerTeamOptions{
          .thread_count = options.optimizer_threads, .cpus = options.optimizer_cpus, .notice = options.notice}),
      maths_(options.make_maths ? options.make_maths() : make_maths(device, plan)),
      decoder_(plan.shape.model, decoder_settings(plan.shape), *maths_),
      head_parts_(head_part_layouts(plan.shape)),
      pace_(options.pace),
      store_(plan.planner.buffers(), memory, device, &team_) {
  CHECK_EQ(memory.layouts().size(), plan.planner.settings().trained_layers.size());
  for (size_t layer = 0; layer < memory.layouts().size(); ++layer) {
    CHECK_EQ(memory.layouts()[layer].trains(), plan.planner.settings().trained_layers[layer] != 0);
  }
  add_host_handlers(handlers_, plan_.shape, memory_, team_, inputs_);
  add_device_handlers(
      handlers_, {plan_.shape, &memory_, &head_parts_, &decoder_, maths_.get(), &inputs_, pace_ ? &*pace_ : nullptr});
  if (plan_.planner.settings().purpose == Purpose::kGenerate) {
    add_generation_handlers(handlers_,
                            {plan_.shape, &memory_, &head_parts_, &decoder_, maths_.get(), &team_, &generation_});
  }
  if (options.traces) trace_ = std::make_unique<TraceRecorder>(longest_schedule(plan_.planner));
  runner_ = make_runner(device_, store_, handlers_, options, trace_.get());
  runner_->call(LaneKind::kCompute, [this] { maths_->start(); });
  report_temporaries(device_);
}

StepEngine::~StepEngine() {
  runner_.reset();
  device_.drain();  // queued work uses members; errors are reported by the step they belong to
}

const Schedule& StepEngine::schedule(StepVariant variant) {
  auto found = schedules_.find(variant);
  if (found == schedules_.end()) found = schedules_.emplace(variant, plan_.planner.plan(variant)).first;
  return found->second;
}

void StepEngine::run(StepVariant variant, const StepInputs& inputs) {
  inputs_ = inputs;
  runner_->run(schedule(variant));
}

void StepEngine::run(StepVariant variant, const StepInputs& inputs, const GenerationInputs& generation) {
  generation_ = generation;
  run(variant, inputs);
}

std::span<std::byte> StepEngine::host_bytes(BufferKind kind, int index) const {
  CHECK(!on_device(kind));
  return store_.bytes(plan_.planner.buffers().find(kind, index));
}

}  // namespace penstock
