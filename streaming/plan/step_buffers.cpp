#include "streaming/plan/step_buffers.h"

#include <algorithm>
#include <utility>

#include "core/check.h"

namespace penstock {
namespace {

constexpr uint64_t kNormBytes = 64;      // a double and a flag, on a cache line of their own
constexpr uint64_t kDecisionBytes = 64;  // clip factor and verdict
constexpr uint64_t kLossSumBytes = 8;    // one double a micro-batch

uint64_t loss_bytes(const StepSettings& settings) {
  return kLossSumBytes * static_cast<uint64_t>(settings.micro_batches);
}

int host_gradient_ring(const StepSettings& settings) {
  return std::min(settings.gradient_slots, settings.block_count - 1) + 1;
}

// Largest of one size over the blocks: what a slot must hold.
uint64_t largest_block(const StepBytes& bytes, uint64_t LayerBytes::*size) {
  uint64_t largest = 0;
  for (size_t layer = 1; layer + 1 < bytes.layers.size(); ++layer)
    largest = std::max(largest, bytes.layers[layer].*size);
  return largest;
}

class TableWriter {
 public:
  TableWriter(const StepSettings& settings, const StepBytes& bytes) : settings_(settings), bytes_(bytes) {}

  void add(BufferKind kind, int index, uint64_t bytes) { table_.add({.kind = kind, .index = index, .bytes = bytes}); }
  void add_per_layer(BufferKind kind, uint64_t LayerBytes::*size) {
    for (int layer = 0; layer < layer_count(); ++layer) {
      table_.add({.kind = kind, .index = layer, .bytes = bytes_.layers[static_cast<size_t>(layer)].*size});
    }
  }
  void add_per_micro_batch(BufferKind kind, int index, uint64_t bytes) {
    for (int m = 0; m < settings_.micro_batches; ++m) {
      table_.add({.kind = kind, .index = index, .micro_batch = m, .bytes = bytes});
    }
  }

  int layer_count() const { return settings_.block_count + 2; }
  const StepSettings& settings() const { return settings_; }
  const StepBytes& bytes() const { return bytes_; }
  BufferTable take() { return std::move(table_); }

 private:
  const StepSettings& settings_;
  const StepBytes& bytes_;
  BufferTable table_;
};

// Deferred: every layer keeps its gradient until the next step's update. Eager: the blocks' go through a ring.
void add_host_gradients(TableWriter& writer) {
  const StepSettings& settings = writer.settings();
  if (settings.update == UpdateMode::kDeferred) {
    writer.add_per_layer(BufferKind::kHostGradient, &LayerBytes::host_gradient);
    return;
  }
  const int head = settings.block_count + 1;
  writer.add(BufferKind::kHostGradient, 0, writer.bytes().layers.front().host_gradient);
  for (int position = 0; position < host_gradient_ring(settings); ++position) {
    writer.add(BufferKind::kHostGradient, position + 1, largest_block(writer.bytes(), &LayerBytes::host_gradient));
  }
  writer.add(BufferKind::kHostGradient, head, writer.bytes().layers.back().host_gradient);
}

void add_training_host(TableWriter& writer) {
  writer.add_per_layer(BufferKind::kHostState, &LayerBytes::state);
  add_host_gradients(writer);
  writer.add_per_micro_batch(BufferKind::kEmbedGradientStaging, 0, writer.bytes().activation);
  for (int layer = 0; layer < writer.layer_count(); ++layer) writer.add(BufferKind::kNorm, layer, kNormBytes);
  writer.add(BufferKind::kDecision, 0, kDecisionBytes);
}

void add_training_device(TableWriter& writer) {
  const StepSettings& settings = writer.settings();
  const StepBytes& bytes = writer.bytes();
  bool recomputes = false;
  for (int block = 0; block < settings.block_count; ++block) {
    if (keeps(settings, block)) {
      writer.add_per_micro_batch(BufferKind::kSaved, block + 1, bytes.saved);
    } else {
      recomputes = true;
    }
  }
  if (recomputes) writer.add(BufferKind::kRecomputed, 0, bytes.saved);
  for (int parity = 0; parity < 2; ++parity) {
    writer.add_per_micro_batch(BufferKind::kActivationGradient, parity, bytes.activation);
  }
  for (int slot = 0; slot < gradient_slot_count(settings); ++slot) {
    writer.add(BufferKind::kGradientSlot, slot, largest_block(bytes, &LayerBytes::gradient_slot));
  }
  writer.add(BufferKind::kHeadGradientSlot, 0, bytes.layers.back().gradient_slot);
  if (!settings.packs_gradients) return;
  for (int slot = 0; slot < gradient_slot_count(settings); ++slot) {
    writer.add(BufferKind::kWireStaging, slot, largest_block(bytes, &LayerBytes::host_gradient));
  }
  writer.add(BufferKind::kHeadWireStaging, 0, bytes.layers.back().host_gradient);
}

void add_generation(TableWriter& writer) {
  const StepBytes& bytes = writer.bytes();
  writer.add(BufferKind::kHostLogits, 0, bytes.logits);
  writer.add(BufferKind::kHostTokens, 0, bytes.tokens);
  for (int block = 0; block < writer.settings().block_count; ++block) {
    writer.add(BufferKind::kKvCache, block + 1, bytes.kv_cache);
  }
  writer.add(BufferKind::kLogits, 0, bytes.logits);
}

}  // namespace

int weight_slot_count(const StepSettings& settings) {
  return std::min(settings.prefetch_depth, settings.block_count - 1) + 1;  // in this order nothing can overflow
}

int gradient_slot_count(const StepSettings& settings) {
  return std::min(settings.gradient_slots, settings.block_count);
}

int weight_slot_of(const StepSettings& settings, int block) { return block % weight_slot_count(settings); }

int gradient_slot_of(const StepSettings& settings, int block) {
  return (settings.block_count - 1 - block) % gradient_slot_count(settings);
}

int host_gradient_index(const StepSettings& settings, int layer) {
  const bool is_block = layer >= 1 && layer <= settings.block_count;
  if (!is_block || settings.update == UpdateMode::kDeferred) return layer;
  return (settings.block_count - layer) % host_gradient_ring(settings) + 1;
}

int activation_row(const StepSettings& settings, int row) {
  return settings.purpose == Purpose::kTrain ? row : row % 2;
}

bool keeps(const StepSettings& settings, int block) {
  return settings.activations[static_cast<size_t>(block)] == ActivationPolicy::kKeep;
}

BufferTable build_step_buffers(const StepSettings& settings, const StepBytes& bytes) {
  TableWriter writer(settings, bytes);
  const bool trains = settings.purpose == Purpose::kTrain;
  const bool generates = settings.purpose == Purpose::kGenerate;

  writer.add_per_layer(BufferKind::kHostWire, &LayerBytes::wire);
  writer.add_per_micro_batch(BufferKind::kEmbedStaging, 0, bytes.activation);
  if (!generates) writer.add(BufferKind::kHostLoss, 0, loss_bytes(settings));
  if (trains) add_training_host(writer);

  for (int slot = 0; slot < weight_slot_count(settings); ++slot) {
    writer.add(BufferKind::kWeightSlot, slot, largest_block(bytes, &LayerBytes::wire));
  }
  writer.add(BufferKind::kHeadSlot, 0, bytes.layers.back().wire);
  const int rows = trains ? settings.block_count + 1 : 2;
  for (int row = 0; row < rows; ++row) writer.add_per_micro_batch(BufferKind::kActivation, row, bytes.activation);
  if (!generates) writer.add(BufferKind::kLoss, 0, loss_bytes(settings));
  writer.add(BufferKind::kWorkspace, 0, bytes.workspace);
  if (trains) add_training_device(writer);
  if (generates) add_generation(writer);
  return writer.take();
}

}  // namespace penstock
