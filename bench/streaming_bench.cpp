// Is streaming free? Two answers on the emulated device, each from runs that take turns in one process; medians.
//   resident: step time with two weight slots over step time with a slot for every block. Real compute, no link limit.
//             Every block then still crosses once a step, because the host updates it; backward reuses what is there.
//   paced:    compute that only takes time, and a link on which a Fetch costs half a block's Forward. Executed step
//             time beside the simulator's, and beside the same ops one after the other.
// Not a Google Benchmark program: two trainers that take turns do not fit its loop. No arguments, about two minutes.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/float_mode.h"
#include "core/host_device.h"
#include "core/random.h"
#include "streaming/model_weights.h"
#include "streaming/plan/simulator.h"
#include "streaming/trainer.h"

namespace penstock {
namespace {

constexpr int kWarmupSteps = 3;

struct BenchModel {
  std::string name;
  ModelConfig config;
  int64_t rows;
  int64_t length;
};

ModelConfig llama(int64_t blocks, int64_t hidden, int64_t ffn, int64_t heads, int64_t kv_heads, int64_t vocab) {
  ModelConfig config;
  config.vocab_size = vocab;
  config.hidden_size = hidden;
  config.intermediate_size = ffn;
  config.num_hidden_layers = blocks;
  config.num_attention_heads = heads;
  config.num_key_value_heads = kv_heads;
  config.head_dim = hidden / heads;
  return config;
}

int core_count() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

RunPlan plan_of(const BenchModel& model, int prefetch_depth) {
  const DType compute = cpu_has_fast_bf16() ? DType::kBFloat16 : DType::kFloat32;
  const size_t blocks = static_cast<size_t>(model.config.num_hidden_layers);
  return plan_run({.model = model.config,
                   .compute = compute,
                   .rows = model.rows,
                   .length = model.length,
                   .compute_threads = core_count()},
                  {.prefetch_depth = prefetch_depth, .activations = std::vector(blocks, ActivationPolicy::kKeep)});
}

// One document a row, every token trained.
StepBatch random_batch(const BenchModel& model) {
  const CounterRandom random(1, 1);
  const auto vocab = static_cast<uint64_t>(model.config.vocab_size);
  MicroBatch batch{.rows = model.rows, .length = model.length};
  for (int64_t i = 0; i < model.rows * model.length; ++i) {
    if (i % model.length == 0) batch.segment_starts.push_back(static_cast<int32_t>(i));
    batch.positions.push_back(static_cast<int32_t>(i % model.length));
    batch.tokens.push_back(static_cast<int32_t>(random.below(static_cast<uint64_t>(2 * i), vocab)));
    batch.targets.push_back(static_cast<int32_t>(random.below(static_cast<uint64_t>(2 * i + 1), vocab)));
  }
  batch.segment_starts.push_back(static_cast<int32_t>(model.rows * model.length));
  batch.trained_tokens = batch.real_tokens = model.rows * model.length;
  StepBatch step;
  step.trained_tokens = step.real_tokens = batch.real_tokens;
  step.micro_batches.push_back(std::move(batch));
  return step;
}

// A trainer with all it needs, on the same batch in every step.
class BenchRun {
 public:
  BenchRun(const BenchModel& model, const RunPlan& plan, const HostDeviceOptions& device, const EngineOptions& options)
      : batch_(random_batch(model)), memory_(plan.shape, plan.planner.buffers()), device_(device) {
    WorkerTeam team(options.optimizer_threads);
    initialize_weights(memory_, 1, team);
    engine_ = std::make_unique<StepEngine>(plan, memory_, device_, options);
    TrainerSettings settings;
    settings.learning_rate = {.type = LrSchedulerType::kConstant, .peak = 1e-4, .total_steps = 1000};
    trainer_ = std::make_unique<Trainer>(*engine_, settings);
  }

  double step_ms() {
    const auto begin = std::chrono::steady_clock::now();
    trainer_->step(batch_);
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  }

  const Schedule& schedule() { return engine_->schedule(StepVariant::kTrainPending); }
  std::vector<TraceEvent> trace() const { return engine_->trace()->events(); }

 private:
  StepBatch batch_;
  ModelMemory memory_;
  HostDevice device_;
  std::unique_ptr<StepEngine> engine_;
  std::unique_ptr<Trainer> trainer_;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

// One after the other, `count` times, after a warm-up; [run][step] in ms.
std::vector<std::vector<double>> take_turns(const std::vector<BenchRun*>& runs, int count) {
  std::vector<std::vector<double>> times(runs.size());
  for (int step = -kWarmupSteps; step < count; ++step) {
    for (size_t i = 0; i < runs.size(); ++i) {
      const double ms = runs[i]->step_ms();
      if (step >= 0) times[i].push_back(ms);
    }
  }
  return times;
}

uint64_t fetched_bytes(const Schedule& schedule) {
  const CostModel bytes_as_seconds{.h2d_bytes_per_second = 1};
  double bytes = 0;
  for (const Op& op : schedule.ops()) {
    if (op.kind == OpKind::kFetch) bytes += bytes_as_seconds.seconds(op, schedule.buffers());
  }
  return static_cast<uint64_t>(bytes);
}

void bench_resident(const BenchModel& model, int steps) {
  const EngineOptions options{.optimizer_threads = core_count(), .compute_threads = core_count()};
  const RunPlan streamed_plan = plan_of(model, 1);
  BenchRun streamed(model, streamed_plan, {}, options);
  BenchRun resident(model, plan_of(model, static_cast<int>(model.config.num_hidden_layers)), {}, options);
  const auto times = take_turns({&streamed, &resident}, steps);
  std::vector<double> ratios;
  for (int i = 0; i < steps; ++i) ratios.push_back(times[0][static_cast<size_t>(i)] / times[1][static_cast<size_t>(i)]);
  const auto [lowest, highest] = std::minmax_element(ratios.begin(), ratios.end());
  const auto megabytes = [](BenchRun& run) { return static_cast<double>(fetched_bytes(run.schedule())) / 1e6; };
  fmt::print("resident {}: {:.1f}M parameters, {} x {} tokens, {} compute, median of {} steps\n", model.name,
             static_cast<double>(parameter_count(model.config)) / 1e6, model.rows, model.length,
             dtype_name(streamed_plan.shape.compute), steps);
  fmt::print("  streamed, 2 slots      {:8.1f} ms, {:6.1f} MB fetched a step\n", median(times[0]), megabytes(streamed));
  fmt::print("  resident, {} slots      {:8.1f} ms, {:6.1f} MB fetched a step\n", model.config.num_hidden_layers,
             median(times[1]), megabytes(resident));
  fmt::print("  streamed over resident {:8.3f}    (single pairs {:.3f}..{:.3f})\n", median(ratios), *lowest, *highest);
}

// The host lane does real work also where compute is paced: its rate over the ops that the model prices by bytes,
// from the traces of `steps` steps.
double measured_host_bytes_per_second(BenchRun& run, int steps) {
  const Schedule& schedule = run.schedule();
  const CostModel bytes_as_seconds{.host_bytes_per_second = 1};
  std::vector<double> rates;
  for (int step = -kWarmupSteps; step < steps; ++step) {
    run.step_ms();
    double bytes = 0;
    double seconds = 0;
    for (const TraceEvent& event : run.trace()) {
      if (event.lane != LaneKind::kHost) continue;
      bytes += bytes_as_seconds.seconds(schedule.ops()[event.op], schedule.buffers());
      seconds += static_cast<double>(event.end_ns - event.begin_ns) * 1e-9;
    }
    if (step >= 0) rates.push_back(bytes / seconds);
  }
  return median(rates);
}

// Some ms an op, so that neither sleeping nor issuing counts. Rates make a Fetch of a block last half a Forward.
CostModel paced_costs(const RunPlan& plan) {
  const BufferTable& buffers = plan.planner.buffers();
  const auto block_bytes = static_cast<double>(buffers[buffers.find(BufferKind::kHostWire, 1)].bytes);
  CostModel costs{.forward_seconds = 8e-3, .backward_seconds = 16e-3, .loss_seconds = 12e-3, .pack_seconds = 1e-3};
  costs.h2d_bytes_per_second = block_bytes / (costs.forward_seconds / 2);
  costs.d2h_bytes_per_second = costs.h2d_bytes_per_second;
  return costs;
}

void bench_paced(int steps) {
  const BenchModel model{"paced", llama(8, 256, 688, 4, 4, 259), 4, 64};
  const RunPlan plan = plan_of(model, 1);
  CostModel costs = paced_costs(plan);
  const HostDeviceOptions link{.h2d_gbps = costs.h2d_bytes_per_second / 1e9,
                               .d2h_gbps = costs.d2h_bytes_per_second / 1e9};
  // One optimizer thread: the lanes' threads need the other cores.
  EngineOptions options{.optimizer_threads = 1, .compute_threads = 1, .traces = true, .pace = costs};
  BenchRun executed(model, plan, link, options);
  options.order = IssueOrder::kList;
  BenchRun serial(model, plan, link, options);
  costs.host_bytes_per_second = measured_host_bytes_per_second(executed, steps);
  const auto times = take_turns({&executed, &serial}, steps);

  const Schedule& schedule = executed.schedule();
  const double simulated_ms = simulate({&schedule, &schedule}, costs).step_seconds * 1e3;
  const double serial_ms = serial_seconds(schedule, costs) * 1e3;
  const double executed_ms = median(times[0]);
  const auto [lowest, highest] = std::minmax_element(times[0].begin(), times[0].end());
  fmt::print(
      "paced: {} blocks, Forward {:.0f} ms, Backward {:.0f} ms, Fetch {:.0f} ms; host lane measured at "
      "{:.1f} GB/s; {} steps\n",
      model.config.num_hidden_layers, costs.forward_seconds * 1e3, costs.backward_seconds * 1e3,
      costs.forward_seconds * 0.5e3, costs.host_bytes_per_second / 1e9, steps);
  fmt::print("  executed           {:8.1f} ms  ({:.1f}..{:.1f})\n", executed_ms, *lowest, *highest);
  fmt::print("  simulated          {:8.1f} ms, executed is {:+.1f}% of it off\n", simulated_ms,
             (executed_ms / simulated_ms - 1) * 100);
  fmt::print("  serial, executed   {:8.1f} ms, overlap is worth {:.2f}x\n", median(times[1]),
             median(times[1]) / executed_ms);
  fmt::print("  serial, computed   {:8.1f} ms\n", serial_ms);
}

void run_benches() {
  fmt::print("{} cores, {}\n", core_count(), cpu_has_fast_bf16() ? "fast bf16" : "no fast bf16");
  bench_paced(30);
  bench_resident({"quickstart", llama(8, 320, 896, 5, 5, 259), 8, 512}, 15);
  bench_resident({"63M", llama(8, 768, 2048, 12, 4, 8192), 4, 512}, 9);
}

}  // namespace
}  // namespace penstock

int main() {
  penstock::set_flush_denormals();  // before any other thread exists
  penstock::run_benches();
  return 0;
}
