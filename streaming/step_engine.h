// One model on one device, ready to run steps: buffers, schedules, handlers and the executor, wired together.
// No loop over layers, and no policy: that is the planner's.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>

#include "core/device.h"
#include "core/trace.h"
#include "core/worker_team.h"
#include "streaming/device_handlers.h"
#include "streaming/device_maths.h"
#include "streaming/executor.h"
#include "streaming/generation_handlers.h"
#include "streaming/run_plan.h"
#include "streaming/step_inputs.h"

namespace penstock {

enum class IssueOrder : uint8_t { kLanes, kList, kRandom };  // kList and kRandom run one op at a time (tests)

struct EngineOptions {
  int optimizer_threads = 1;
  std::vector<std::vector<int>> optimizer_cpus = {};        // as WorkerTeamOptions::cpus
  std::function<void(const std::string&)> notice = {};      // and its notice
  std::function<std::unique_ptr<Maths>()> make_maths = {};  // instead of the device's own (tests)
  IssueOrder order = IssueOrder::kLanes;
  uint64_t order_seed = 0;
  bool traces = false;
  bool poisons_released_slots = kPoisonsByDefault;
  IssueObserver* observer = nullptr;
  std::optional<CostModel> pace;  // device.compute: paced
};

class StepEngine {
 public:
  // Allocates every buffer and seals the device. `memory` must have been carved for the same buffer table.
  StepEngine(const RunPlan& plan, ModelMemory& memory, Device& device, const EngineOptions& options);
  ~StepEngine();

  // Runs one step of that variant to its end. Throws what any op threw.
  void run(StepVariant variant, const StepInputs& inputs);
  void run(StepVariant variant, const StepInputs& inputs, const GenerationInputs& generation);

  const Schedule& schedule(StepVariant variant);
  const RunPlan& plan() const { return plan_; }
  ModelMemory& memory() { return memory_; }
  // A host buffer of the last step: decision, loss, logits, gradients.
  std::span<std::byte> host_bytes(BufferKind kind, int index = 0) const;
  const TraceRecorder* trace() const { return trace_.get(); }

 private:
  RunPlan plan_;
  ModelMemory& memory_;
  Device& device_;
  WorkerTeam team_;
  std::unique_ptr<Maths> maths_;
  Decoder decoder_;
  std::vector<LayerLayout> head_parts_;
  std::optional<CostModel> pace_;
  LayerStore store_;
  StepInputs inputs_;
  GenerationInputs generation_;
  OpHandlers handlers_;
  std::unique_ptr<TraceRecorder> trace_;
  std::map<StepVariant, Schedule> schedules_;
  std::unique_ptr<StepRunner> runner_;
};

}  // namespace penstock
