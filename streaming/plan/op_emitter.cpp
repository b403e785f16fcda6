#include "streaming/plan/op_emitter.h"

#include <utility>

#include "streaming/plan/step_buffers.h"

namespace penstock {

OpEmitter::OpEmitter(const StepSettings& settings, const BufferTable& buffers, StepVariant variant)
    : settings_(settings),
      buffers_(buffers),
      trains_(variant == StepVariant::kTrain || variant == StepVariant::kTrainPending),
      decodes_(variant == StepVariant::kDecode),
      builder_(variant, settings.block_count, buffers) {}

void OpEmitter::emit(OpKind kind, int layer, int micro_batch, const Buffers& reads, const Buffers& writes) {
  Op op{.kind = kind, .lane = lane_of(kind), .layer = layer, .micro_batch = micro_batch, .accesses = {}, .waits = {}};
  op.accesses.reserve(reads.size() + writes.size());
  for (const BufferIndex buffer : reads) op.accesses.push_back({buffer, Mode::kRead});
  for (const BufferIndex buffer : writes) op.accesses.push_back({buffer, Mode::kWrite});
  builder_.emit(std::move(op));
}

BufferIndex OpEmitter::wire(int layer) const { return buffers_.find(BufferKind::kHostWire, layer); }

BufferIndex OpEmitter::weight_slot(int layer) const {
  if (layer == head()) return buffers_.find(BufferKind::kHeadSlot);
  return buffers_.find(BufferKind::kWeightSlot, weight_slot_of(settings_, layer - 1));
}

BufferIndex OpEmitter::activation(int row, int micro_batch) const {
  return buffers_.find(BufferKind::kActivation, activation_row(settings_, row), micro_batch);
}

BufferIndex OpEmitter::activation_gradient(int row, int micro_batch) const {
  return buffers_.find(BufferKind::kActivationGradient, row % 2, micro_batch);
}

BufferIndex OpEmitter::gradient_slot(int layer) const {
  if (layer == head()) return buffers_.find(BufferKind::kHeadGradientSlot);
  return buffers_.find(BufferKind::kGradientSlot, gradient_slot_of(settings_, layer - 1));
}

BufferIndex OpEmitter::wire_staging(int layer) const {
  if (layer == head()) return buffers_.find(BufferKind::kHeadWireStaging);
  return buffers_.find(BufferKind::kWireStaging, gradient_slot_of(settings_, layer - 1));
}

BufferIndex OpEmitter::host_gradient(int layer) const {
  return buffers_.find(BufferKind::kHostGradient, host_gradient_index(settings_, layer));
}

void OpEmitter::update(int layer) {
  const BufferIndex state = buffers_.find(BufferKind::kHostState, layer);
  Buffers reads{host_gradient(layer)};
  if (settings_.update == UpdateMode::kDeferred) reads.push_back(buffers_.find(BufferKind::kDecision));
  reads.insert(reads.end(), {wire(layer), state});
  emit(OpKind::kUpdate, layer, -1, reads, {wire(layer), state});
}

void OpEmitter::embed(int micro_batch) {
  Buffers reads{wire(0)};
  if (decodes_) reads.push_back(buffers_.find(BufferKind::kHostTokens));
  emit(OpKind::kEmbed, -1, micro_batch, reads, {buffers_.find(BufferKind::kEmbedStaging, 0, micro_batch)});
}

void OpEmitter::fetch_embed(int micro_batch) {
  emit(OpKind::kFetchEmbed, -1, micro_batch, {buffers_.find(BufferKind::kEmbedStaging, 0, micro_batch)},
       {activation(0, micro_batch)});
}

void OpEmitter::fetch(int layer) { emit(OpKind::kFetch, layer, -1, {wire(layer)}, {weight_slot(layer)}); }

void OpEmitter::forward(int layer, int micro_batch) {
  Buffers writes{activation(layer, micro_batch)};
  if (trains_ && keeps(settings_, layer - 1)) writes.push_back(buffers_.find(BufferKind::kSaved, layer, micro_batch));
  writes.push_back(buffers_.find(BufferKind::kWorkspace));
  emit(OpKind::kForward, layer, micro_batch, {weight_slot(layer), activation(layer - 1, micro_batch)}, writes);
}

void OpEmitter::loss(int micro_batch) {
  const bool accumulates = micro_batch > 0;
  const BufferIndex sums = buffers_.find(BufferKind::kLoss);
  Buffers reads{weight_slot(head()), activation(settings_.block_count, micro_batch)};
  Buffers writes;
  if (accumulates) reads.push_back(sums);
  if (trains_) {
    if (accumulates) reads.push_back(gradient_slot(head()));
    writes = {activation_gradient(settings_.block_count, micro_batch), gradient_slot(head())};
  }
  writes.insert(writes.end(), {sums, buffers_.find(BufferKind::kWorkspace)});
  emit(OpKind::kLoss, -1, micro_batch, reads, writes);
}

void OpEmitter::backward(int layer, int micro_batch) {
  Buffers reads{weight_slot(layer), activation(layer - 1, micro_batch), activation_gradient(layer, micro_batch)};
  Buffers writes{activation_gradient(layer - 1, micro_batch), gradient_slot(layer)};
  if (micro_batch > 0) reads.push_back(gradient_slot(layer));
  if (keeps(settings_, layer - 1)) {
    reads.push_back(buffers_.find(BufferKind::kSaved, layer, micro_batch));
  } else {
    writes.push_back(buffers_.find(BufferKind::kRecomputed));
  }
  writes.push_back(buffers_.find(BufferKind::kWorkspace));
  emit(OpKind::kBackward, layer, micro_batch, reads, writes);
}

void OpEmitter::pack(int layer) { emit(OpKind::kPack, layer, -1, {gradient_slot(layer)}, {wire_staging(layer)}); }

void OpEmitter::offload(int layer) {
  const BufferIndex source = settings_.packs_gradients ? wire_staging(layer) : gradient_slot(layer);
  emit(OpKind::kOffload, layer, -1, {source}, {host_gradient(layer)});
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
  emit(OpKind::kScatterEmbed, -1, -1, reads, {host_gradient(0)});
}

void OpEmitter::norm(int layer) {
  emit(OpKind::kNorm, layer, -1, {host_gradient(layer)}, {buffers_.find(BufferKind::kNorm, layer)});
}

void OpEmitter::offload_loss() {
  emit(OpKind::kOffloadLoss, -1, -1, {buffers_.find(BufferKind::kLoss)}, {buffers_.find(BufferKind::kHostLoss)});
}

void OpEmitter::decide() {
  Buffers reads;
  for (int layer = 0; layer <= head(); ++layer) reads.push_back(buffers_.find(BufferKind::kNorm, layer));
  reads.push_back(buffers_.find(BufferKind::kHostLoss));
  emit(OpKind::kDecide, -1, -1, reads, {buffers_.find(BufferKind::kDecision)});
}

void OpEmitter::report() { emit(OpKind::kReport, -1, -1, {buffers_.find(BufferKind::kHostLoss)}, {}); }

void OpEmitter::prefill(int layer) { generate_block(OpKind::kPrefill, layer); }
void OpEmitter::decode(int layer) { generate_block(OpKind::kDecode, layer); }

void OpEmitter::generate_block(OpKind kind, int layer) {
  const BufferIndex cache = buffers_.find(BufferKind::kKvCache, layer);
  Buffers reads{weight_slot(layer), activation(layer - 1, 0)};
  if (decodes_) reads.push_back(cache);
  emit(kind, layer, 0, reads, {activation(layer, 0), cache, buffers_.find(BufferKind::kWorkspace)});
}

void OpEmitter::logits() {
  emit(OpKind::kLogits, -1, -1, {weight_slot(head()), activation(settings_.block_count, 0)},
       {buffers_.find(BufferKind::kLogits), buffers_.find(BufferKind::kWorkspace)});
}

void OpEmitter::offload_logits() {
  emit(OpKind::kOffloadLogits, -1, -1, {buffers_.find(BufferKind::kLogits)}, {buffers_.find(BufferKind::kHostLogits)});
}

void OpEmitter::sample() {
  emit(OpKind::kSample, -1, -1, {buffers_.find(BufferKind::kHostLogits)}, {buffers_.find(BufferKind::kHostTokens)});
}

Schedule OpEmitter::build() && { return std::move(builder_).build(); }

}  // namespace penstock
