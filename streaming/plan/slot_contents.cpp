#include <algorithm>

#include "core/check.h"
#include "streaming/plan/step_execution.h"

namespace penstock {
namespace {

int count_micro_batches(const Schedule& schedule) {
  int last = 0;
  for (const Op& op : schedule.ops()) last = std::max(last, op.micro_batch);
  return last + 1;
}

int count_head_parts(const Schedule& schedule) {
  int parts = 0;
  for (const Op& op : schedule.ops()) parts = std::max(parts, op.part + 1);
  return parts;
}

bool scatters(const Schedule& schedule) {
  return std::any_of(schedule.ops().begin(), schedule.ops().end(),
                     [](const Op& op) { return op.kind == OpKind::kScatterEmbed; });
}

}  // namespace

void StepExecution::run(const Schedule& schedule, int step) {
  contents_.begin_step(schedule, step);
  schedule_ = &schedule;
  head_parts_ = count_head_parts(schedule);
  shares_gradient_ = embedding() == head_ && scatters(schedule);
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
      return update(op.layer, op.piece);
    case OpKind::kEmbed:
      return embed(m);
    case OpKind::kFetchEmbed:
      contents_.read(BufferKind::kEmbedStaging, output(0, m));
      contents_.write(BufferKind::kBatchTable, batch_table(m));
      return contents_.write(BufferKind::kActivation, output(0, m));
    case OpKind::kFetch:
      return op.piece == kWholeLayer ? fetch(op.layer, op.part) : fetch_piece(op.layer, op.piece);
    case OpKind::kForward:
      return forward(op.layer, m);
    case OpKind::kLoss:
      return loss(m);
    case OpKind::kHeadStatistics:
      return head_statistics(op.part, m);
    case OpKind::kHeadGradient:
      return head_gradient(op.part, m);
    case OpKind::kBackward:
      return backward(op.layer, m);
    case OpKind::kPack:
      return pack(op.layer, op.part);
    case OpKind::kOffload:
      return offload(op.layer, op.part);
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
      return logits(op.part);
    case OpKind::kOffloadLogits:
      contents_.read(BufferKind::kLogits, only_step(What::kLogits));
      return contents_.write(BufferKind::kHostLogits, only_step(What::kLogits));
    case OpKind::kSample:
      return sample();
  }
}

void StepExecution::use_batch(int m) {
  contents_.read(BufferKind::kBatchTable, batch_table(m));
  contents_.scratch(BufferKind::kWorkspace);
}

void StepExecution::accumulate(BufferKind kind, const Content& up_to, int m) {
  Content before = up_to;
  before.micro_batch = m - 1;
  if (m > 0) contents_.read(kind, before);
  contents_.write(kind, up_to);
}

// A deferred update applies the gradient of the latest decided step and must know that decision; an eager one applies
// the gradient of its own step. Either brings weights and state from one version to the next, once. State is at the
// next version when the layer's last piece is; before, it remembers how far it came.
void StepExecution::update(int layer, int piece) {
  const bool deferred = contents_.reads(BufferKind::kDecision);
  Content expected = gradient(layer, deferred ? decided_last_ : last_micro_batch());
  int version = decided_;
  if (deferred) {
    expected.step = decided_step_;
    version = decided_ - 1;
    contents_.read(BufferKind::kDecision, {.what = What::kDecision, .step = decided_step_});
  }
  contents_.read(BufferKind::kHostGradient, expected);
  if (!is_trained(layer)) return contents_.report("updates a frozen layer");
  const std::vector<int> all = pieces(layer);
  const auto place = std::find(all.begin(), all.end(), piece);
  const bool is_whole = piece == kWholeLayer;
  if (!is_whole && place == all.end()) return contents_.report("updates a piece that the layer does not have");
  for (const int taken : is_whole ? all : std::vector{piece}) {
    contents_.read(BufferKind::kHostWire, {.what = What::kWeights, .layer = layer, .piece = taken, .version = version});
    contents_.write(BufferKind::kHostWire,
                    {.what = What::kWeights, .layer = layer, .piece = taken, .version = version + 1});
  }
  const bool is_first = is_whole || place == all.begin();
  const bool is_last = is_whole || place == all.end() - 1;
  const int before = is_first ? kWholeLayer : *(place - 1);
  contents_.read(BufferKind::kHostState, {.what = What::kState, .layer = layer, .piece = before, .version = version});
  Content after{.what = What::kState, .layer = layer, .piece = piece, .version = version};
  if (is_last) after = {.what = What::kState, .layer = layer, .version = version + 1};
  contents_.write(BufferKind::kHostState, after);
}

std::vector<int> StepExecution::pieces(int layer) const {
  std::vector<int> found;
  for (const BufferIndex buffer : schedule_->buffers().pieces(BufferKind::kHostWire, layer)) {
    found.push_back(schedule_->buffers()[buffer].piece);
  }
  return found;
}

void StepExecution::read_weights(int layer) {
  for (const int piece : pieces(layer)) contents_.read(BufferKind::kHostWire, weights(layer, piece));
}

// Before a pending update of the cold rows, the hot ones are all that may be looked at, and all that is needed.
void StepExecution::embed(int m) {
  const std::vector<int> all = pieces(embedding());
  if (all.empty()) return contents_.report("finds no embedding");
  if (variant_ == StepVariant::kTrainPending && all.front() == kHotRows) {
    contents_.read(BufferKind::kHostWire, weights(embedding(), kHotRows));
  } else {
    read_weights(embedding());
  }
  if (variant_ == StepVariant::kDecode) {
    contents_.read(BufferKind::kHostTokens, {.what = What::kTokens, .version = tokens_});
  }
  contents_.write(BufferKind::kEmbedStaging, output(0, m));
}

void StepExecution::fetch(int layer, int part) {
  read_weights(layer);
  contents_.write(layer == head_ ? BufferKind::kHeadSlot : BufferKind::kWeightSlot, fetched(layer, part));
}

// The slot holds the layer when its last piece has landed on top of the others.
void StepExecution::fetch_piece(int layer, int piece) {
  const BufferKind slot = layer == head_ ? BufferKind::kHeadSlot : BufferKind::kWeightSlot;
  const std::vector<int> all = pieces(layer);
  if (std::find(all.begin(), all.end(), piece) == all.end())
    return contents_.report("fetches a piece that is not there");
  Content content = fetched(layer);
  contents_.read(BufferKind::kHostWire, weights(layer, piece));
  if (piece != all.front()) {
    content.piece = piece - 1;
    contents_.read(slot, content);
  }
  content.piece = piece == all.back() ? kWholeLayer : piece;
  contents_.write(slot, content);
}

void StepExecution::forward(int layer, int m) {
  contents_.read(BufferKind::kWeightSlot, fetched(layer));
  contents_.read(BufferKind::kActivation, output(layer - 1, m));
  contents_.write(BufferKind::kActivation, output(layer, m));
  if (contents_.writes(BufferKind::kSaved)) {
    contents_.write(BufferKind::kSaved, {.what = What::kSaved, .layer = layer, .micro_batch = m, .step = step_});
  }
  use_batch(m);
}

void StepExecution::loss(int m) {
  contents_.read(BufferKind::kHeadSlot, fetched(head_));
  contents_.read(BufferKind::kActivation, output(head_ - 1, m));
  accumulate(BufferKind::kLoss, loss_up_to(m), m);
  if (trains_ && is_trained(head_)) accumulate(BufferKind::kHeadGradientSlot, gradient(head_, m), m);
  if (contents_.writes(BufferKind::kActivationGradient)) {
    contents_.write(BufferKind::kActivationGradient, output_gradient(head_ - 1, m));
  }
  use_batch(m);
}

void StepExecution::head_statistics(int part, int m) {
  contents_.read(BufferKind::kHeadSlot, fetched(head_, part));
  contents_.read(BufferKind::kActivation, output(head_ - 1, m));
  if (part > 0) contents_.read(BufferKind::kHeadStatistics, over_parts(What::kHeadStatistics, part - 1, m));
  contents_.write(BufferKind::kHeadStatistics, over_parts(What::kHeadStatistics, part, m));
  if (part == last_part()) accumulate(BufferKind::kLoss, loss_up_to(m), m);
  use_batch(m);
}

void StepExecution::head_gradient(int part, int m) {
  contents_.read(BufferKind::kHeadSlot, fetched(head_, part));
  contents_.read(BufferKind::kActivation, output(head_ - 1, m));
  contents_.read(BufferKind::kHeadStatistics, over_parts(What::kHeadStatistics, last_part(), m));
  if (is_trained(head_)) accumulate(BufferKind::kHeadGradientSlot, gradient(head_, m, part), m);
  if (part < last_part()) {
    contents_.read(BufferKind::kHeadInputGradient, over_parts(What::kHeadInputGradient, part + 1, m));
  }
  contents_.write(BufferKind::kHeadInputGradient, over_parts(What::kHeadInputGradient, part, m));
  if (contents_.writes(BufferKind::kActivationGradient)) {
    contents_.write(BufferKind::kActivationGradient, output_gradient(head_ - 1, m));
  }
  use_batch(m);
}

void StepExecution::backward(int layer, int m) {
  contents_.read(BufferKind::kWeightSlot, fetched(layer));
  contents_.read(BufferKind::kActivation, output(layer - 1, m));
  contents_.read(BufferKind::kActivationGradient, output_gradient(layer, m));
  if (contents_.writes(BufferKind::kActivationGradient)) {
    contents_.write(BufferKind::kActivationGradient, output_gradient(layer - 1, m));
  }
  if (is_trained(layer)) accumulate(BufferKind::kGradientSlot, gradient(layer, m), m);
  if (contents_.writes(BufferKind::kRecomputed)) {
    contents_.scratch(BufferKind::kRecomputed);
  } else {
    contents_.read(BufferKind::kSaved, {.what = What::kSaved, .layer = layer, .micro_batch = m, .step = step_});
  }
  use_batch(m);
}

void StepExecution::pack(int layer, int part) {
  const bool head = layer == head_;
  const Content complete = gradient(layer, last_micro_batch(), part);
  contents_.read(head ? BufferKind::kHeadGradientSlot : BufferKind::kGradientSlot, complete);
  contents_.write(head ? BufferKind::kHeadWireStaging : BufferKind::kWireStaging, complete);
}

// The host gradient of a head in parts is whole when part 0 has landed on top of the others.
void StepExecution::offload(int layer, int part) {
  const bool head = layer == head_;
  const BufferKind staging = head ? BufferKind::kHeadWireStaging : BufferKind::kWireStaging;
  const BufferKind slot = head ? BufferKind::kHeadGradientSlot : BufferKind::kGradientSlot;
  contents_.read(contents_.reads(slot) ? slot : staging, gradient(layer, last_micro_batch(), part));
  if (part >= 0 && part < last_part()) {
    contents_.read(BufferKind::kHostGradient, gradient(layer, last_micro_batch(), part + 1));
  }
  if (part > 0) return contents_.write(BufferKind::kHostGradient, gradient(layer, last_micro_batch(), part));
  const bool unshared = head && shares_gradient_;
  contents_.write(BufferKind::kHostGradient, unshared ? unshared_gradient() : gradient(layer, last_micro_batch()));
}

void StepExecution::offload_embed(int m) {
  contents_.read(BufferKind::kActivationGradient, output_gradient(0, m));
  contents_.write(BufferKind::kEmbedGradientStaging, output_gradient(0, m));
}

void StepExecution::scatter_embed() {
  for (int m = 0; m < micro_batches_; ++m) contents_.read(BufferKind::kEmbedGradientStaging, output_gradient(0, m));
  if (shares_gradient_) contents_.read(BufferKind::kHostGradient, unshared_gradient());
  contents_.write(BufferKind::kHostGradient, gradient(embedding(), last_micro_batch()));
}

void StepExecution::norm(int layer) {
  contents_.read(BufferKind::kHostGradient, gradient(layer, last_micro_batch()));
  contents_.write(BufferKind::kNorm, norm_of(layer));
}

void StepExecution::decide() {
  for (int layer = 0; layer <= head_; ++layer) {
    if (is_trained(layer)) contents_.read(BufferKind::kNorm, norm_of(layer));
  }
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
  use_batch(0);
}

void StepExecution::logits(int part) {
  contents_.read(BufferKind::kHeadSlot, fetched(head_, part));
  contents_.read(BufferKind::kActivation, output(head_ - 1, 0));
  Content columns = only_step(What::kLogits);
  columns.part = part - 1;
  if (part > 0) contents_.read(BufferKind::kLogits, columns);
  columns.part = part == last_part() ? -1 : part;  // whole
  contents_.write(BufferKind::kLogits, columns);
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

// All trained layers must be at one version, between `lowest` and `highest`.
void StepExecution::check_versions(int lowest, int highest) {
  int first = -1, common = 0;
  for (int layer = 0; layer <= head_; ++layer) {
    if (!is_trained(layer)) continue;
    for (const BufferIndex buffer : schedule_->buffers().pieces(BufferKind::kHostWire, layer)) {
      const int version = contents_.held(buffer).version;
      if (first < 0) {
        first = layer;
        common = version;
        if (version >= lowest && version <= highest) continue;
        contents_.report("leaves " + layer_label(layer, head_ - 1) + " at version " + std::to_string(version) +
                         ", not " + std::to_string(highest));
      } else if (version != common) {
        contents_.report("leaves layers at different versions: " + layer_label(first, head_ - 1) + " " +
                         std::to_string(common) + ", " + layer_label(layer, head_ - 1) + " " + std::to_string(version));
      }
    }
  }
}

std::vector<ScheduleFinding> find_wrong_contents(const std::vector<const Schedule*>& steps) {
  CHECK(!steps.empty());
  StepExecution execution(*steps.front());
  for (size_t i = 0; i < steps.size(); ++i) execution.run(*steps[i], static_cast<int>(i));
  return execution.findings();
}

}  // namespace penstock
