// A whole run in miniature: an odd-shaped model, seeded packed batches, a trainer on any device.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/device.h"
#include "streaming/model_weights.h"
#include "streaming/trainer.h"

namespace penstock {

// Where a run computes.
struct Platform {
  Backend backend = Backend::kHost;
  std::function<std::unique_ptr<Device>()> make_device;
  std::function<std::unique_ptr<Maths>(Device&)> make_maths = {};  // empty: the device's own
  std::string missing = {};                                        // why it cannot be used here; empty: it can
};
Platform host_platform();

struct TinySettings {
  Platform platform = host_platform();
  StateFormat format = StateFormat::kFloat32;
  DType compute = DType::kFloat32;
  int64_t rows = 2;
  int64_t length = 12;
  int blocks = 5;
  int micro_batches = 2;
  int prefetch_depth = 1;
  int gradient_slots = 2;
  UpdateMode update = UpdateMode::kDeferred;
  std::vector<ActivationPolicy> activations;  // empty: keep all
  double max_grad_norm = 0.5;
  double learning_rate = 1e-2;
  int64_t intermediate_size = 44;
  std::string family = "llama";
  TrainablePatterns trainable;
  int head_parts = 1;
  uint64_t update_piece_bytes = 1;  // every fixed block of the optimizer a piece
  EngineOptions engine;
  uint64_t seed = 7;
};

// A model with the switches that `family` is known for: windows shorter than the documents, tied heads, biases,
// QK-norm, blocks without positions. For gtest names: "llama", "mistral", "qwen2", "qwen3", "smollm3".
ModelConfig tiny_model(int blocks, int64_t intermediate_size = 44, const std::string& family = "llama");

// Rows cut into documents of seeded lengths, one padded row end, some targets masked.
MicroBatch tiny_batch(const TinySettings& settings, uint64_t seed);
StepBatch tiny_step(const TinySettings& settings, uint64_t seed);

class TinyRun {
 public:
  explicit TinyRun(const TinySettings& settings);

  StepReport step(int64_t index) { return trainer_->step(tiny_step(settings_, static_cast<uint64_t>(index))); }
  std::vector<double> losses(int64_t first, int64_t count);
  // Weights and state of all layers, drained.
  std::vector<std::byte> state();

  Trainer& trainer() { return *trainer_; }
  ModelMemory& memory() { return *memory_; }
  StepEngine& engine() { return *engine_; }

 private:
  TinySettings settings_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<ModelMemory> memory_;
  std::unique_ptr<StepEngine> engine_;
  std::unique_ptr<Trainer> trainer_;
};

// The first `steps` steps of a new run.
struct Outcome {
  std::vector<double> losses;
  std::vector<std::byte> state;
};
Outcome run_steps(const TinySettings& settings, int64_t steps);

RunPlan tiny_plan(const TinySettings& settings);

}  // namespace penstock
