#include "tiny_run.h"

#include "core/host_device.h"
#include "core/random.h"

namespace penstock {

ModelConfig tiny_model(int blocks, int64_t intermediate_size, const std::string& family) {
  ModelConfig model;
  model.model_type = family;
  model.vocab_size = 37;
  model.hidden_size = 24;
  model.intermediate_size = intermediate_size;
  model.num_hidden_layers = blocks;
  model.num_attention_heads = 3;
  model.num_key_value_heads = 1;
  model.head_dim = 8;
  model.initializer_range = 0.1;
  const auto count = static_cast<size_t>(blocks);
  if (family == "mistral") model.windows.assign(count, 3);
  if (family.starts_with("qwen2")) {
    model.qkv_bias = true;
    model.tie_word_embeddings = family == "qwen2";
    for (size_t block = 0; block < count; ++block) model.windows.push_back(block % 2 == 0 ? 0 : 4);
  }
  if (family == "qwen3") {
    model.qk_norm = true;
    model.head_dim = 16;  // queries are wider than the model
    model.rope_scaling = {
        .type = RopeType::kYarn, .factor = 4, .original_max_position_embeddings = 8, .attention_factor = 1.1};
  }
  if (family == "smollm3") {
    model.tie_word_embeddings = true;
    model.qkv_bias = model.output_bias = model.mlp_bias = true;
    for (size_t block = 0; block < count; ++block) model.rotary_blocks.push_back(block % 2 == 0 ? 1 : 0);
  }
  return model;
}

MicroBatch tiny_batch(const TinySettings& settings, uint64_t seed) {
  const CounterRandom random(seed, 1);
  MicroBatch batch{.rows = settings.rows, .length = settings.length};
  uint64_t draw = 0;
  for (int64_t row = 0; row < settings.rows; ++row) {
    int64_t left = 0;
    for (int64_t i = 0; i < settings.length; ++i) {
      if (left == 0) {
        left = 1 + static_cast<int64_t>(random.below(draw++, 7));
        batch.segment_starts.push_back(static_cast<int32_t>(batch.tokens.size()));
        batch.positions.push_back(0);
      } else {
        batch.positions.push_back(batch.positions.back() + 1);
      }
      --left;
      batch.tokens.push_back(static_cast<int32_t>(random.below(draw++, 37)));
      const bool trained = left > 0 && random.below(draw++, 4) != 0;
      batch.targets.push_back(trained ? static_cast<int32_t>(random.below(draw++, 37)) : kIgnoredTarget);
      batch.trained_tokens += trained ? 1 : 0;
    }
  }
  batch.segment_starts.push_back(static_cast<int32_t>(batch.tokens.size()));
  batch.real_tokens = static_cast<int64_t>(batch.tokens.size());
  return batch;
}

StepBatch tiny_step(const TinySettings& settings, uint64_t seed) {
  StepBatch step;
  for (int m = 0; m < settings.micro_batches; ++m) {
    step.micro_batches.push_back(tiny_batch(settings, seed * 100 + static_cast<uint64_t>(m) + settings.seed));
    step.trained_tokens += step.micro_batches.back().trained_tokens;
    step.real_tokens += step.micro_batches.back().real_tokens;
  }
  return step;
}

RunPlan tiny_plan(const TinySettings& settings) {
  const RunShape shape{.model = tiny_model(settings.blocks, settings.intermediate_size, settings.family),
                       .backend = settings.platform.backend,
                       .format = settings.format,
                       .compute = settings.compute,
                       .gradient = gradient_dtype(settings.format),
                       .rows = settings.rows,
                       .length = settings.length,
                       .trainable = settings.trainable,
                       .head_parts = settings.head_parts,
                       .update_piece_bytes = settings.update_piece_bytes};
  StepSettings step{.micro_batches = settings.micro_batches,
                    .prefetch_depth = settings.prefetch_depth,
                    .gradient_slots = settings.gradient_slots,
                    .update = settings.update,
                    .activations = settings.activations};
  if (step.activations.empty()) step.activations.assign(static_cast<size_t>(settings.blocks), ActivationPolicy::kKeep);
  return plan_run(shape, step);
}

Platform host_platform() {
  return {.make_device = [] { return std::make_unique<HostDevice>(HostDeviceOptions{}); }};
}

TinyRun::TinyRun(const TinySettings& settings) : settings_(settings), device_(settings.platform.make_device()) {
  const RunPlan plan = tiny_plan(settings);
  memory_ = std::make_unique<ModelMemory>(plan.shape, plan.planner.buffers());
  WorkerTeam team(1);
  initialize_weights(*memory_, settings.seed, team);
  EngineOptions options = settings.engine;
  if (settings.platform.make_maths) options.make_maths = [&] { return settings.platform.make_maths(*device_); };
  engine_ = std::make_unique<StepEngine>(plan, *memory_, *device_, options);
  TrainerSettings trainer;
  trainer.learning_rate = {.type = LrSchedulerType::kCosine, .peak = settings.learning_rate, .total_steps = 20};
  trainer.weight_decay = 0.1;
  trainer.max_grad_norm = settings.max_grad_norm;
  trainer.seed = settings.seed;
  trainer_ = std::make_unique<Trainer>(*engine_, trainer);
}

std::vector<double> TinyRun::losses(int64_t first, int64_t count) {
  std::vector<double> losses;
  for (int64_t index = first; index < first + count; ++index) losses.push_back(step(index).loss);
  return losses;
}

std::vector<std::byte> TinyRun::state() {
  trainer_->drain();
  std::vector<std::byte> all;
  for (int layer = 0; layer < memory_->layer_count(); ++layer) {
    const LayerStateView view = memory_->layer(layer);
    all.insert(all.end(), view.wire.begin(), view.wire.end());
    all.insert(all.end(), view.state.begin(), view.state.end());
  }
  return all;
}

Outcome run_steps(const TinySettings& settings, int64_t steps) {
  TinyRun run(settings);
  Outcome outcome{run.losses(0, steps), {}};
  outcome.state = run.state();
  return outcome;
}

}  // namespace penstock
