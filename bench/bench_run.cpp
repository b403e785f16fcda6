#include "bench_run.h"

#include "core/random.h"
#include "model/host_maths.h"
#include "streaming/model_weights.h"

namespace penstock {

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

RunPlan plan_of(const BenchModel& model, int prefetch_depth, Backend backend, StateFormat format) {
  const bool is_fast = backend == Backend::kCuda || cpu_has_fast_bf16();
  const DType compute = is_fast ? DType::kBFloat16 : DType::kFloat32;
  const size_t blocks = static_cast<size_t>(model.config.num_hidden_layers);
  return plan_run({.model = model.config,
                   .backend = backend,
                   .format = format,
                   .compute = compute,
                   .rows = model.rows,
                   .length = model.length,
                   .compute_threads = core_count(),
                   .deterministic = false},
                  {.prefetch_depth = prefetch_depth, .activations = std::vector(blocks, ActivationPolicy::kKeep)});
}

StepBatch random_batch(const BenchModel& model, uint64_t stream) {
  const CounterRandom random(1, stream);
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

BenchRun::BenchRun(const BenchModel& model, const RunPlan& plan, std::unique_ptr<Device> device,
                   const EngineOptions& options)
    : batch_(random_batch(model)), memory_(plan.shape, plan.planner.buffers()), device_(std::move(device)) {
  WorkerTeam team(options.optimizer_threads);
  initialize_weights(memory_, 1, team);
  engine_ = std::make_unique<StepEngine>(plan, memory_, *device_, options);
  TrainerSettings settings;
  settings.learning_rate = {.type = LrSchedulerType::kConstant, .peak = 1e-4, .total_steps = 1000};
  trainer_ = std::make_unique<Trainer>(*engine_, settings);
}

double BenchRun::step_ms() {
  const auto begin = std::chrono::steady_clock::now();
  trainer_->step(batch_);
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

double traced_host_bytes_per_second(BenchRun& run) {
  const Schedule& schedule = run.schedule();
  const CostModel bytes_as_seconds{.host_bytes_per_second = 1};
  double bytes = 0;
  double seconds = 0;
  for (const TraceEvent& event : run.trace()) {
    if (event.lane != LaneKind::kHost) continue;
    bytes += bytes_as_seconds.seconds(schedule.ops()[event.op], schedule.buffers());
    seconds += static_cast<double>(event.end_ns - event.begin_ns) * 1e-9;
  }
  return bytes / seconds;
}

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

}  // namespace penstock
