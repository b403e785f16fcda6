// What benches of whole steps share: a model's shape, random batches, a trainer on any device, runs that take turns.
#pragma once

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/device.h"
#include "optim/state_format.h"
#include "streaming/trainer.h"

namespace penstock {

struct BenchModel {
  std::string name;
  ModelConfig config;
  int64_t rows;
  int64_t length;
};

ModelConfig llama(int64_t blocks, int64_t hidden, int64_t ffn, int64_t heads, int64_t kv_heads, int64_t vocab);
int core_count();
// On `backend`, in bf16 where that is fast there.
RunPlan plan_of(const BenchModel& model, int prefetch_depth, Backend backend = Backend::kHost,
                StateFormat format = StateFormat::kExact);
// One document a row, every token trained; `stream` chooses the tokens.
StepBatch random_batch(const BenchModel& model, uint64_t stream = 1);

// A trainer with all it needs, on the same batch in every step until it is given another.
class BenchRun {
 public:
  BenchRun(const BenchModel& model, const RunPlan& plan, std::unique_ptr<Device> device, const EngineOptions& options);

  double step_ms();
  void set_batch(StepBatch batch) { batch_ = std::move(batch); }

  const Schedule& schedule() { return engine_->schedule(StepVariant::kTrainPending); }
  std::vector<TraceEvent> trace() const { return engine_->trace()->events(); }

 private:
  StepBatch batch_;
  ModelMemory memory_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<StepEngine> engine_;
  std::unique_ptr<Trainer> trainer_;
};

double median(std::vector<double> values);
// The host lane does real work also where compute is paced: its rate over the ops that the cost model prices by bytes,
// from the trace of the last step.
double traced_host_bytes_per_second(BenchRun& run);
// One after the other, `count` times, after a warm-up; [run][step] in ms.
std::vector<std::vector<double>> take_turns(const std::vector<BenchRun*>& runs, int count);
inline constexpr int kWarmupSteps = 3;

}  // namespace penstock
