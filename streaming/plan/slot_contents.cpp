// Symbolic execution of a sequence of steps: what every op must find in the buffers it reads, by the maths of a
// training step alone. It knows neither slot numbers nor StepSettings: which buffer an op touches comes from the op.
#include <algorithm>

#include "core/check.h"
#include "streaming/plan/buffer_contents.h"

namespace penstock {
namespace {

int count_micro_batches(const Schedule& schedule) {
  int last = 0;
  for (const Op& op : schedule.ops()) last = std::max(last, op.micro_batch);
  return last + 1;
}

class StepExecution {
 public:
  explicit StepExecution(const Schedule& first) : contents_(first), head_(first.block_count() + 1) {}

  void run(const Schedule& schedule, int step);
  const std::vector<ScheduleFinding>& findings() const { return contents_.findings(); }

 private:
  void run_op(const Op& op);
  void update(int layer);
  void embed(int m);
  void fetch(int layer);
  void forward(int layer, int m);
  void loss(int m);
  void backward(int layer, int m);
  void pack(int layer);
  void offload(int layer);
  void offload_embed(int m);
  void scatter_embed();
  void norm(int layer);
  void decide();
  void generate_block(int layer);
  void logits();
  void sample();
  void end_step();

  // Weights at the version that every decided update has made: a read before a pending update is a mismatch.
  Content weights(int layer) const { return {.what = What::kWeights, .layer = layer, .version = decided_}; }
  // A slot must have been filled in this step, even where the step before left the right bytes in it.
  Content fetched(int layer) const {
    return {.what = What::kWeights, .layer = layer, .version = decided_, .step = step_};
  }
  Content output(int layer, int m) const {
    return {.what = What::kActivation, .layer = layer, .micro_batch = m, .step = step_};
  }
  Content output_gradient(int layer, int m) const {
    return {.what = What::kActivationGradient, .layer = layer, .micro_batch = m, .step = step_};
  }
  Content gradient(int layer, int m) const {
    return {.what = What::kGradient, .layer = layer, .micro_batch = m, .step = step_};
  }
  Content loss_up_to(int m) const { return {.what = What::kLoss, .micro_batch = m, .step = step_}; }
  Content norm_of(int layer) const { return {.what = What::kNorm, .layer = layer, .step = step_}; }
  Content only_step(What what) const { return {.what = what, .step = step_}; }
  int last_micro_batch() const { return micro_batches_ - 1; }

  // Reads (m > 0) and writes a running sum: the first micro-batch must overwrite, later ones must add.
  void accumulate(BufferKind kind, const Content& up_to, int m);
  void check_versions(int lowest, int highest);

  BufferContents contents_;
  int head_;
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

void StepExecution::run(const Schedule& schedule, int step) {
  contents_.begin_step(schedule, step);
  variant_ = schedule.variant();
  step_ = step;
  micro_batches_ = count_micro_batches(schedule);
  trains_ = variant_ == StepVariant::kTrain || variant_ == StepVariant::kTrainPending;
  closed_ = false;
  for (OpIndex i = 0; i < schedule.ops().size(); ++i) {
    contents_.begin_op(i);
    run_op(schedule.ops()[i]);
    contents_.end_op();
  }
  end_step();
}

void StepExecution::run_op(const Op& op) {
  const int m = op.micro_batch;
  switch (op.kind) {
    case OpKind::kUpdate:
      return update(op.layer);
    case OpKind::kEmbed:
      return embed(m);
    case OpKind::kFetchEmbed:
      contents_.read(BufferKind::kEmbedStaging, output(0, m));
      return contents_.write(BufferKind::kActivation, output(0, m));
    case OpKind::kFetch:
      return fetch(op.layer);
    case OpKind::kForward:
      return forward(op.layer, m);
    case OpKind::kLoss:
      return loss(m);
    case OpKind::kBackward:
      return backward(op.layer, m);
    case OpKind::kPack:
      return pack(op.layer);
    case OpKind::kOffload:
      return offload(op.layer);
    case OpKind::kOffloadEmbed:
      return offload_embed(m);
    case OpKind::kScatterEmbed:
      return scatter_embed();
    case OpKind::kNorm:
      return norm(op.layer);
    case OpKind::kOffloadLoss:
      contents_.read(BufferKind::kLoss, loss_up_to(last_micro_batch()));
      return contents_.write(BufferKind::kHostLoss, loss_up_to(last_micro_batch()));
    case OpKind::kDecide:
      return decide();
    case OpKind::kReport:
      closed_ = true;
      return contents_.read(BufferKind::kHostLoss, loss_up_to(last_micro_batch()));
    case OpKind::kPrefill:
    case OpKind::kDecode:
      return generate_block(op.layer);
    case OpKind::kLogits:
      return logits();
    case OpKind::kOffloadLogits:
      contents_.read(BufferKind::kLogits, only_step(What::kLogits));
      return contents_.write(BufferKind::kHostLogits, only_step(What::kLogits));
    case OpKind::kSample:
      return sample();
  }
}

void StepExecution::accumulate(BufferKind kind, const Content& up_to, int m) {
  Content before = up_to;
  before.micro_batch = m - 1;
  if (m > 0) contents_.read(kind, before);
  contents_.write(kind, up_to);
}

// A deferred update applies the gradient of the latest decided step and must know that decision; an eager one applies
// the gradient of its own step. Either brings weights and state from one version to the next, once.
void StepExecution::update(int layer) {
  const bool deferred = contents_.reads(BufferKind::kDecision);
  Content expected = gradient(layer, deferred ? decided_last_ : last_micro_batch());
  int version = decided_;
  if (deferred) {
    expected.step = decided_step_;
    version = decided_ - 1;
    contents_.read(BufferKind::kDecision, {.what = What::kDecision, .step = decided_step_});
  }
  contents_.read(BufferKind::kHostGradient, expected);
  contents_.read(BufferKind::kHostWire, {.what = What::kWeights, .layer = layer, .version = version});
  contents_.read(BufferKind::kHostState, {.what = What::kState, .layer = layer, .version = version});
  contents_.write(BufferKind::kHostWire, {.what = What::kWeights, .layer = layer, .version = version + 1});
  contents_.write(BufferKind::kHostState, {.what = What::kState, .layer = layer, .version = version + 1});
}

void StepExecution::embed(int m) {
  contents_.read(BufferKind::kHostWire, weights(0));
  if (variant_ == StepVariant::kDecode) {
    contents_.read(BufferKind::kHostTokens, {.what = What::kTokens, .version = tokens_});
  }
  contents_.write(BufferKind::kEmbedStaging, output(0, m));
}

void StepExecution::fetch(int layer) {
  contents_.read(BufferKind::kHostWire, weights(layer));
  contents_.write(layer == head_ ? BufferKind::kHeadSlot : BufferKind::kWeightSlot, fetched(layer));
}

void StepExecution::forward(int layer, int m) {
  contents_.read(BufferKind::kWeightSlot, fetched(layer));
  contents_.read(BufferKind::kActivation, output(layer - 1, m));
  contents_.write(BufferKind::kActivation, output(layer, m));
  if (contents_.writes(BufferKind::kSaved)) {
    contents_.write(BufferKind::kSaved, {.what = What::kSaved, .layer = layer, .micro_batch = m, .step = step_});
  }
  contents_.scratch(BufferKind::kWorkspace);
}

void StepExecution::loss(int m) {
  contents_.read(BufferKind::kHeadSlot, fetched(head_));
  contents_.read(BufferKind::kActivation, output(head_ - 1, m));
  accumulate(BufferKind::kLoss, loss_up_to(m), m);
  if (trains_) {
    accumulate(BufferKind::kHeadGradientSlot, gradient(head_, m), m);
    contents_.write(BufferKind::kActivationGradient, output_gradient(head_ - 1, m));
  }
  contents_.scratch(BufferKind::kWorkspace);
}

void StepExecution::backward(int layer, int m) {
  contents_.read(BufferKind::kWeightSlot, fetched(layer));
  contents_.read(BufferKind::kActivation, output(layer - 1, m));
  contents_.read(BufferKind::kActivationGradient, output_gradient(layer, m));
  contents_.write(BufferKind::kActivationGradient, output_gradient(layer - 1, m));
  accumulate(BufferKind::kGradientSlot, gradient(layer, m), m);
  if (contents_.writes(BufferKind::kRecomputed)) {
    contents_.scratch(BufferKind::kRecomputed);
  } else {
    contents_.read(BufferKind::kSaved, {.what = What::kSaved, .layer = layer, .micro_batch = m, .step = step_});
  }
  contents_.scratch(BufferKind::kWorkspace);
}

void StepExecution::pack(int layer) {
  const bool head = layer == head_;
  const Content complete = gradient(layer, last_micro_batch());
  contents_.read(head ? BufferKind::kHeadGradientSlot : BufferKind::kGradientSlot, complete);
  contents_.write(head ? BufferKind::kHeadWireStaging : BufferKind::kWireStaging, complete);
}

void StepExecution::offload(int layer) {
  const bool head = layer == head_;
  const BufferKind staging = head ? BufferKind::kHeadWireStaging : BufferKind::kWireStaging;
  const BufferKind slot = head ? BufferKind::kHeadGradientSlot : BufferKind::kGradientSlot;
  const Content complete = gradient(layer, last_micro_batch());
  contents_.read(contents_.reads(slot) ? slot : staging, complete);
  contents_.write(BufferKind::kHostGradient, complete);
}

void StepExecution::offload_embed(int m) {
  contents_.read(BufferKind::kActivationGradient, output_gradient(0, m));
  contents_.write(BufferKind::kEmbedGradientStaging, output_gradient(0, m));
}

void StepExecution::scatter_embed() {
  for (int m = 0; m < micro_batches_; ++m) contents_.read(BufferKind::kEmbedGradientStaging, output_gradient(0, m));
  contents_.write(BufferKind::kHostGradient, gradient(0, last_micro_batch()));
}

void StepExecution::norm(int layer) {
  contents_.read(BufferKind::kHostGradient, gradient(layer, last_micro_batch()));
  contents_.write(BufferKind::kNorm, norm_of(layer));
}

void StepExecution::decide() {
  for (int layer = 0; layer <= head_; ++layer) contents_.read(BufferKind::kNorm, norm_of(layer));
  contents_.read(BufferKind::kHostLoss, loss_up_to(last_micro_batch()));
  contents_.write(BufferKind::kDecision, only_step(What::kDecision));
  check_versions(decided_, decided_ + 1);  // all still to be updated, or (eager) all updated
  ++decided_;
  decided_step_ = step_;
  decided_last_ = last_micro_batch();
  closed_ = true;
}

void StepExecution::generate_block(int layer) {
  const Content before{.what = What::kKvCache, .layer = layer, .version = tokens_};
  contents_.read(BufferKind::kWeightSlot, fetched(layer));
  contents_.read(BufferKind::kActivation, output(layer - 1, 0));
  contents_.write(BufferKind::kActivation, output(layer, 0));
  if (variant_ == StepVariant::kDecode) contents_.read(BufferKind::kKvCache, before);
  contents_.write(BufferKind::kKvCache, {.what = What::kKvCache, .layer = layer, .version = tokens_ + 1});
  contents_.scratch(BufferKind::kWorkspace);
}

void StepExecution::logits() {
  contents_.read(BufferKind::kHeadSlot, fetched(head_));
  contents_.read(BufferKind::kActivation, output(head_ - 1, 0));
  contents_.write(BufferKind::kLogits, only_step(What::kLogits));
  contents_.scratch(BufferKind::kWorkspace);
}

void StepExecution::sample() {
  contents_.read(BufferKind::kHostLogits, only_step(What::kLogits));
  contents_.write(BufferKind::kHostTokens, {.what = What::kTokens, .version = ++tokens_});
  closed_ = true;
}

void StepExecution::end_step() {
  if (variant_ == StepVariant::kDrain) return check_versions(decided_, decided_);
  if (!closed_) contents_.report("ends without its closing op (Decide, Report or Sample)");
}

// All layers must be at one version, between `lowest` and `highest`.
void StepExecution::check_versions(int lowest, int highest) {
  const int common = contents_.held(BufferKind::kHostWire, 0).version;
  if (common < lowest || common > highest) {
    contents_.report("leaves the embedding at version " + std::to_string(common) + ", not " + std::to_string(highest));
  }
  for (int layer = 1; layer <= head_; ++layer) {
    const int version = contents_.held(BufferKind::kHostWire, layer).version;
    if (version == common) continue;
    contents_.report("leaves layers at different versions: embedding " + std::to_string(common) + ", layer " +
                     layer_label(layer, head_ - 1) + " " + std::to_string(version));
  }
}

}  // namespace

std::vector<ScheduleFinding> find_wrong_contents(const std::vector<const Schedule*>& steps) {
  CHECK(!steps.empty());
  StepExecution execution(*steps.front());
  for (size_t i = 0; i < steps.size(); ++i) execution.run(*steps[i], static_cast<int>(i));
  return execution.findings();
}

}  // namespace penstock
