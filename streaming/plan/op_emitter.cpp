#include "streaming/plan/op_emitter.h"

#include <utility>

#include "streaming/plan/step_buffers.h"

namespace penstock {

OpEmitter::OpEmitter(const StepSettings& settings, const BufferTable& buffers, StepVariant variant)
    : settings_(settings),
      buffers_(buffers),
      trains_(variant == StepVariant::kTrain || variant == StepVariant::kTrainPending),
      updates_first_(variant == StepVariant::kTrainPending),
      decodes_(variant == StepVariant::kDecode),
      builder_(variant, settings.block_count, buffers) {}

void OpEmitter::emit(OpKind kind, int layer, int micro_batch, const Buffers& reads, const Buffers& writes, OpCut cut) {
  Op op{.kind = kind,
        .lane = lane_of(kind),
        .layer = layer,
        .part = cut.part,
        .piece = cut.piece,
        .micro_batch = micro_batch,
        .accesses = {},
        .waits = {}};
  op.accesses.reserve(reads.size() + writes.size());
  for (const BufferIndex buffer : reads) op.accesses.push_back({buffer, Mode::kRead});
  for (const BufferIndex buffer : writes) op.accesses.push_back({buffer, Mode::kWrite});
  builder_.emit(std::move(op));
}

OpEmitter::Buffers OpEmitter::wire(int layer, int piece) const {
  if (piece == kWholeLayer) return buffers_.pieces(BufferKind::kHostWire, layer);
  return {buffers_.find_piece(BufferKind::kHostWire, layer, piece)};
}

std::vector<int> OpEmitter::pieces(int layer) const {
  std::vector<int> found;
  for (const BufferIndex buffer : wire(layer)) found.push_back(buffers_[buffer].piece);
  return found;
}

BufferIndex OpEmitter::weight_slot(int layer, int part) const {
  if (layer == head()) return buffers_.find(BufferKind::kHeadSlot, head_slot_of(settings_, part));
  return buffers_.find(BufferKind::kWeightSlot, weight_slot_of(settings_, layer - 1));
}

BufferIndex OpEmitter::batch_table(int micro_batch) const {
  return buffers_.find(BufferKind::kBatchTable, 0, micro_batch);
}

BufferIndex OpEmitter::activation(int row, int micro_batch) const {
  return buffers_.find(BufferKind::kActivation, activation_row(settings_, row), micro_batch);
}

BufferIndex OpEmitter::activation_gradient(int row, int micro_batch) const {
  return buffers_.find(BufferKind::kActivationGradient, row % 2, micro_batch);
}

BufferIndex OpEmitter::gradient_slot(int layer, int part) const {
  if (layer == head()) return buffers_.find(BufferKind::kHeadGradientSlot, head_slot_of(settings_, part));
  return buffers_.find(BufferKind::kGradientSlot, gradient_slot_of(settings_, layer - 1));
}

BufferIndex OpEmitter::wire_staging(int layer, int part) const {
  if (layer == head()) return buffers_.find(BufferKind::kHeadWireStaging, head_slot_of(settings_, part));
  return buffers_.find(BufferKind::kWireStaging, gradient_slot_of(settings_, layer - 1));
}

BufferIndex OpEmitter::host_gradient(int layer) const {
  return buffers_.find(BufferKind::kHostGradient, host_gradient_index(settings_, layer));
}

void OpEmitter::update(int layer, int piece) {
  Buffers reads{host_gradient(layer)};
  if (settings_.update == UpdateMode::kDeferred) reads.push_back(buffers_.find(BufferKind::kDecision));
  Buffers writes = wire(layer, piece);
  writes.push_back(buffers_.find(BufferKind::kHostState, layer));
  reads.insert(reads.end(), writes.begin(), writes.end());
  emit(OpKind::kUpdate, layer, -1, reads, writes, {.piece = piece});
}

void OpEmitter::embed(int micro_batch) {
  const int layer = embedding_layer(settings_);
  const bool only_hot = updates_first_ && pieces(layer).front() == kHotRows;
  Buffers reads = wire(layer, only_hot ? kHotRows : kWholeLayer);
  if (decodes_) reads.push_back(buffers_.find(BufferKind::kHostTokens));
  emit(OpKind::kEmbed, -1, micro_batch, reads, {buffers_.find(BufferKind::kEmbedStaging, 0, micro_batch)});
}

void OpEmitter::fetch_embed(int micro_batch) {
  emit(OpKind::kFetchEmbed, -1, micro_batch, {buffers_.find(BufferKind::kEmbedStaging, 0, micro_batch)},
       {batch_table(micro_batch), activation(0, micro_batch)});
}

void OpEmitter::fetch(int layer, int part) {
  emit(OpKind::kFetch, layer, -1, wire(layer), {weight_slot(layer, part)}, {.part = part});
}

// The first piece opens the slot, the others fill it up.
void OpEmitter::fetch_piece(int layer, int piece) {
  Buffers reads = wire(layer, piece);
  if (piece > 0) reads.push_back(weight_slot(layer));
  emit(OpKind::kFetch, layer, -1, reads, {weight_slot(layer)}, {.piece = piece});
}

void OpEmitter::forward(int layer, int micro_batch) {
  Buffers writes{activation(layer, micro_batch)};
  if (trains_ && keeps(settings_, layer - 1)) writes.push_back(buffers_.find(BufferKind::kSaved, layer, micro_batch));
  writes.push_back(buffers_.find(BufferKind::kWorkspace));
  emit(OpKind::kForward, layer, micro_batch,
       {weight_slot(layer), batch_table(micro_batch), activation(layer - 1, micro_batch)}, writes);
}

void OpEmitter::loss(int micro_batch) {
  const bool accumulates = micro_batch > 0;
  const BufferIndex sums = buffers_.find(BufferKind::kLoss);
  Buffers reads{weight_slot(head()), batch_table(micro_batch), activation(settings_.block_count, micro_batch)};
  Buffers writes;
  if (accumulates) reads.push_back(sums);
  if (trains_ && needs_input_gradient(settings_, head())) {
    writes.push_back(activation_gradient(settings_.block_count, micro_batch));
  }
  if (trains_ && trains(settings_, head())) {
    if (accumulates) reads.push_back(gradient_slot(head()));
    writes.push_back(gradient_slot(head()));
  }
  writes.insert(writes.end(), {sums, buffers_.find(BufferKind::kWorkspace)});
  emit(OpKind::kLoss, -1, micro_batch, reads, writes);
}

// Part 0 overwrites the statistics; the last one turns them into the loss.
void OpEmitter::head_statistics(int part, int micro_batch) {
  const BufferIndex statistics = buffers_.find(BufferKind::kHeadStatistics, 0, micro_batch);
  const BufferIndex sums = buffers_.find(BufferKind::kLoss);
  Buffers reads{weight_slot(head(), part), batch_table(micro_batch), activation(settings_.block_count, micro_batch)};
  Buffers writes{statistics};
  if (part > 0) reads.push_back(statistics);
  if (is_last_part(part)) {
    if (micro_batch > 0) reads.push_back(sums);
    writes.push_back(sums);
  }
  writes.push_back(buffers_.find(BufferKind::kWorkspace));
  emit(OpKind::kHeadStatistics, head(), micro_batch, reads, writes, {.part = part});
}

// Parts come in falling order: the last overwrites the sum over the parts, part 0 hands it on.
void OpEmitter::head_gradient(int part, int micro_batch) {
  Buffers reads{weight_slot(head(), part), batch_table(micro_batch), activation(settings_.block_count, micro_batch),
                buffers_.find(BufferKind::kHeadStatistics, 0, micro_batch)};
  const BufferIndex sum = buffers_.find(BufferKind::kHeadInputGradient, 0, micro_batch);
  Buffers writes{sum};
  if (!is_last_part(part)) reads.push_back(sum);
  if (part == 0 && needs_input_gradient(settings_, head())) {
    writes.push_back(activation_gradient(settings_.block_count, micro_batch));
  }
  if (trains(settings_, head())) {
    if (micro_batch > 0) reads.push_back(gradient_slot(head(), part));
    writes.push_back(gradient_slot(head(), part));
  }
  writes.push_back(buffers_.find(BufferKind::kWorkspace));
  emit(OpKind::kHeadGradient, head(), micro_batch, reads, writes, {.part = part});
}

void OpEmitter::backward(int layer, int micro_batch) {
  Buffers reads{weight_slot(layer), batch_table(micro_batch), activation(layer - 1, micro_batch),
                activation_gradient(layer, micro_batch)};
  Buffers writes;
  if (needs_input_gradient(settings_, layer)) writes.push_back(activation_gradient(layer - 1, micro_batch));
  if (trains(settings_, layer)) {
    writes.push_back(gradient_slot(layer));
    if (micro_batch > 0) reads.push_back(gradient_slot(layer));
  }
  if (keeps(settings_, layer - 1)) {
    reads.push_back(buffers_.find(BufferKind::kSaved, layer, micro_batch));
  } else {
    writes.push_back(buffers_.find(BufferKind::kRecomputed));
  }
  writes.push_back(buffers_.find(BufferKind::kWorkspace));
  emit(OpKind::kBackward, layer, micro_batch, reads, writes);
}

void OpEmitter::pack(int layer, int part) {
  emit(OpKind::kPack, layer, -1, {gradient_slot(layer, part)}, {wire_staging(layer, part)}, {.part = part});
}

// A part of the head fills its rows of a gradient whose higher parts are there already.
void OpEmitter::offload(int layer, int part) {
  Buffers reads{settings_.packs_gradients ? wire_staging(layer, part) : gradient_slot(layer, part)};
  if (part != kWhole && !is_last_part(part)) reads.push_back(host_gradient(layer));
  emit(OpKind::kOffload, layer, -1, reads, {host_gradient(layer)}, {.part = part});
}

void OpEmitter::offload_embed(int micro_batch) {
  emit(OpKind::kOffloadEmbed, -1, micro_batch, {activation_gradient(0, micro_batch)},
       {buffers_.find(BufferKind::kEmbedGradientStaging, 0, micro_batch)});
}

void OpEmitter::scatter_embed() {
  Buffers reads;
  for (int m = 0; m < settings_.micro_batches; ++m) {
    reads.push_back(buffers_.find(BufferKind::kEmbedGradientStaging, 0, m));
  }
  const BufferIndex gradient = host_gradient(embedding_layer(settings_));
  if (shares_gradient(settings_)) reads.push_back(gradient);
  emit(OpKind::kScatterEmbed, -1, -1, reads, {gradient});
}

void OpEmitter::norm(int layer) {
  emit(OpKind::kNorm, layer, -1, {host_gradient(layer)}, {buffers_.find(BufferKind::kNorm, layer)});
}

void OpEmitter::offload_loss() {
  emit(OpKind::kOffloadLoss, -1, -1, {buffers_.find(BufferKind::kLoss)}, {buffers_.find(BufferKind::kHostLoss)});
}

void OpEmitter::decide() {
  Buffers reads;
  for (int layer = 0; layer <= head(); ++layer) {
    if (trains(settings_, layer)) reads.push_back(buffers_.find(BufferKind::kNorm, layer));
  }
  reads.push_back(buffers_.find(BufferKind::kHostLoss));
  emit(OpKind::kDecide, -1, -1, reads, {buffers_.find(BufferKind::kDecision)});
}

void OpEmitter::report() { emit(OpKind::kReport, -1, -1, {buffers_.find(BufferKind::kHostLoss)}, {}); }

void OpEmitter::prefill(int layer) { generate_block(OpKind::kPrefill, layer); }
void OpEmitter::decode(int layer) { generate_block(OpKind::kDecode, layer); }

void OpEmitter::generate_block(OpKind kind, int layer) {
  const BufferIndex cache = buffers_.find(BufferKind::kKvCache, layer);
  Buffers reads{weight_slot(layer), batch_table(0), activation(layer - 1, 0)};
  if (decodes_) reads.push_back(cache);
  emit(kind, layer, 0, reads, {activation(layer, 0), cache, buffers_.find(BufferKind::kWorkspace)});
}

// A part of the head writes its own columns, part 0 first.
void OpEmitter::logits(int part) {
  const BufferIndex logits = buffers_.find(BufferKind::kLogits);
  Buffers reads{weight_slot(head(), part), activation(settings_.block_count, 0)};
  if (part > 0) reads.push_back(logits);
  emit(OpKind::kLogits, part == kWhole ? -1 : head(), -1, reads, {logits, buffers_.find(BufferKind::kWorkspace)},
       {.part = part});
}

void OpEmitter::offload_logits() {
  emit(OpKind::kOffloadLogits, -1, -1, {buffers_.find(BufferKind::kLogits)}, {buffers_.find(BufferKind::kHostLogits)});
}

void OpEmitter::sample() {
  emit(OpKind::kSample, -1, -1, {buffers_.find(BufferKind::kHostLogits)}, {buffers_.find(BufferKind::kHostTokens)});
}

Schedule OpEmitter::build() && { return std::move(builder_).build(); }

}  // namespace penstock
