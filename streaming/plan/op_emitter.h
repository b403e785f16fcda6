// Emits the ops of a step, one function per kind of op, each with the buffers it reads and writes.
// Knows what an op touches, not when it comes: the order is the caller's (training_steps.h, generation_steps.h).
#pragma once

#include <vector>

#include "streaming/plan/schedule_builder.h"
#include "streaming/plan/step_planner.h"

namespace penstock {

// What an op takes of its layer: a part of the head, a piece of the wire weights, or all.
struct OpCut {
  int part = -1;
  int piece = kWholeLayer;
};

class OpEmitter {
 public:
  // Both must outlive the emitter.
  OpEmitter(const StepSettings& settings, const BufferTable& buffers, StepVariant variant);

  const StepSettings& settings() const { return settings_; }
  int head() const { return settings_.block_count + 1; }

  // Layers in need order, as in Op::layer. `part` of the head where it comes in parts, else kWhole.
  static constexpr int kWhole = -1;
  // Pieces of the layer's wire weights, in the order in which updates take them; just kWholeLayer where it is not cut.
  std::vector<int> pieces(int layer) const;
  void update(int layer, int piece = kWholeLayer);
  void embed(int micro_batch);
  void fetch_embed(int micro_batch);
  void fetch(int layer, int part = kWhole);
  void fetch_piece(int layer, int piece);
  void forward(int layer, int micro_batch);
  void loss(int micro_batch);
  void head_statistics(int part, int micro_batch);
  void head_gradient(int part, int micro_batch);
  void backward(int layer, int micro_batch);
  void pack(int layer, int part = kWhole);
  void offload(int layer, int part = kWhole);
  void offload_embed(int micro_batch);
  void scatter_embed();
  void norm(int layer);
  void offload_loss();
  void decide();
  void report();
  void prefill(int layer);
  void decode(int layer);
  void logits(int part = kWhole);
  void offload_logits();
  void sample();

  Schedule build() &&;

 private:
  using Buffers = std::vector<BufferIndex>;
  void emit(OpKind kind, int layer, int micro_batch, const Buffers& reads, const Buffers& writes, OpCut cut = {});
  bool is_last_part(int part) const { return part == settings_.head_parts - 1; }
  void generate_block(OpKind kind, int layer);

  // The layer's wire weights, or that piece of them.
  Buffers wire(int layer, int piece = kWholeLayer) const;
  BufferIndex weight_slot(int layer, int part = kWhole) const;
  BufferIndex batch_table(int micro_batch) const;
  BufferIndex activation(int row, int micro_batch) const;
  // Gradient with respect to activation row `row`.
  BufferIndex activation_gradient(int row, int micro_batch) const;
  BufferIndex gradient_slot(int layer, int part = kWhole) const;
  BufferIndex wire_staging(int layer, int part = kWhole) const;
  BufferIndex host_gradient(int layer) const;

  const StepSettings& settings_;
  const BufferTable& buffers_;
  bool trains_;         // the step itself: an evaluation over a training table does not
  bool updates_first_;  // weights are at the version of the step before until their update
  bool decodes_;
  ScheduleBuilder builder_;
};

}  // namespace penstock
