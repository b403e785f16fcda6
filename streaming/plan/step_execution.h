// Symbolic execution of a sequence of steps: what every op must find in the buffers it reads, by the maths of a
// training step alone. It knows neither slot numbers nor StepSettings: which buffer an op touches comes from the op.
// Private to slot_contents.cpp.
#pragma once

#include <vector>

#include "streaming/plan/buffer_contents.h"

namespace penstock {

class StepExecution {
 public:
  explicit StepExecution(const Schedule& first) : contents_(first), head_(first.block_count() + 1) {}

  void run(const Schedule& schedule, int step);
  const std::vector<ScheduleFinding>& findings() const { return contents_.findings(); }

 private:
  void run_op(const Op& op);
  void update(int layer, int piece);
  void embed(int m);
  void fetch(int layer, int part);
  void fetch_piece(int layer, int piece);
  void forward(int layer, int m);
  void loss(int m);
  void head_statistics(int part, int m);
  void head_gradient(int part, int m);
  void backward(int layer, int m);
  void pack(int layer, int part);
  void offload(int layer, int part);
  void offload_embed(int m);
  void scatter_embed();
  void norm(int layer);
  void decide();
  void generate_block(int layer);
  void logits(int part);
  void sample();
  void end_step();

  // What the table says about the model: a layer without state is frozen, a model without layer 0 is tied.
  bool is_trained(int layer) const { return schedule_->buffers().contains(BufferKind::kHostState, layer); }
  // Pieces of the layer's wire weights, in the order in which updates take them.
  std::vector<int> pieces(int layer) const;
  int embedding() const { return pieces(0).empty() ? head_ : 0; }
  // Parts of the head, as the ops count them; 0: it comes whole.
  int last_part() const { return head_parts_ - 1; }

  // Weights at the version that every decided update has made: a read before a pending update is a mismatch.
  Content weights(int layer, int piece = kWholeLayer) const {
    return {.what = What::kWeights, .layer = layer, .piece = piece, .version = is_trained(layer) ? decided_ : 0};
  }
  // The op reads every piece of the layer's wire weights.
  void read_weights(int layer);
  // A slot must have been filled in this step, even where the step before left the right bytes in it.
  Content fetched(int layer, int part = -1) const {
    Content content = weights(layer);
    content.part = part;
    content.step = step_;
    return content;
  }
  Content output(int layer, int m) const {
    return {.what = What::kActivation, .layer = layer, .micro_batch = m, .step = step_};
  }
  Content output_gradient(int layer, int m) const {
    return {.what = What::kActivationGradient, .layer = layer, .micro_batch = m, .step = step_};
  }
  Content gradient(int layer, int m, int part = -1) const {
    return {.what = What::kGradient, .layer = layer, .part = part, .micro_batch = m, .step = step_};
  }
  // The host gradient of a tied head before the embedding's rows are added to it.
  Content unshared_gradient() const {
    return {.what = What::kUnsharedGradient, .layer = head_, .micro_batch = last_micro_batch(), .step = step_};
  }
  // Sums over the head's parts, up to `part` in the order of the pass.
  Content over_parts(What what, int part, int m) const {
    return {.what = what, .layer = head_, .part = part, .micro_batch = m, .step = step_};
  }
  Content loss_up_to(int m) const { return {.what = What::kLoss, .micro_batch = m, .step = step_}; }
  Content norm_of(int layer) const { return {.what = What::kNorm, .layer = layer, .step = step_}; }
  Content only_step(What what) const { return {.what = what, .step = step_}; }
  int last_micro_batch() const { return micro_batches_ - 1; }

  // A micro-batch's positions, targets and segments, as they came with its tokens.
  Content batch_table(int m) const { return {.what = What::kBatchTable, .micro_batch = m, .step = step_}; }

  // What every compute op on a micro-batch has beside its own buffers.
  void use_batch(int m);
  // Reads (m > 0) and writes a running sum: the first micro-batch must overwrite, later ones must add.
  void accumulate(BufferKind kind, const Content& up_to, int m);
  void check_versions(int lowest, int highest);

  BufferContents contents_;
  const Schedule* schedule_ = nullptr;
  int head_;
  int head_parts_ = 0;
  bool shares_gradient_ = false;  // of a tied head, with the embedding's rows
  StepVariant variant_ = StepVariant::kTrain;
  int step_ = 0;
  int micro_batches_ = 1;
  bool trains_ = false;
  int decided_ = 0;        // training steps decided so far
  int decided_step_ = -1;  // position of the latest of them
  int decided_last_ = 0;   // its last micro-batch
  int tokens_ = 0;         // generated so far, over all prompts: an older prompt's cache never matches
  bool closed_ = false;    // Decide, Report or Sample was seen in this step
};

}  // namespace penstock
