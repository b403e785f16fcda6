#include "streaming/plan/step_buffers.h"

#include <algorithm>
#include <numeric>
#include <set>
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

int trained_block_count(const StepSettings& settings) {
  int count = 0;
  for (int layer = 1; layer <= settings.block_count; ++layer) count += trains(settings, layer) ? 1 : 0;
  return count;
}

// Trained blocks above `block`: its turn in backward.
int backward_turn(const StepSettings& settings, int block) {
  int turn = 0;
  for (int layer = block + 2; layer <= settings.block_count; ++layer) turn += trains(settings, layer) ? 1 : 0;
  return turn;
}

int host_gradient_ring(const StepSettings& settings) {
  const int trained = trained_block_count(settings);
  return trained == 0 ? 0 : std::min(settings.gradient_slots, trained - 1) + 1;
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

  void add(const Buffer& buffer) { table_.add(buffer); }
  void add(BufferKind kind, int index, uint64_t bytes) { table_.add({.kind = kind, .index = index, .bytes = bytes}); }
  void add_layer(BufferKind kind, int layer, uint64_t LayerBytes::*size) {
    table_.add({.kind = kind, .index = layer, .bytes = bytes_.layers[static_cast<size_t>(layer)].*size});
  }
  void add_per_trained_layer(BufferKind kind, uint64_t LayerBytes::*size) {
    for (int layer = 0; layer < layer_count(); ++layer) {
      if (trains(settings_, layer)) add_layer(kind, layer, size);
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

// Deferred: every trained layer keeps its gradient until the next step's update. Eager: the blocks' go through a ring.
void add_host_gradients(TableWriter& writer) {
  const StepSettings& settings = writer.settings();
  if (settings.update == UpdateMode::kDeferred) {
    writer.add_per_trained_layer(BufferKind::kHostGradient, &LayerBytes::host_gradient);
    return;
  }
  const int head = settings.block_count + 1;
  if (trains(settings, 0)) writer.add_layer(BufferKind::kHostGradient, 0, &LayerBytes::host_gradient);
  for (int position = 0; position < host_gradient_ring(settings); ++position) {
    writer.add(BufferKind::kHostGradient, position + 1, largest_block(writer.bytes(), &LayerBytes::host_gradient));
  }
  if (trains(settings, head)) writer.add_layer(BufferKind::kHostGradient, head, &LayerBytes::host_gradient);
}

void add_training_host(TableWriter& writer) {
  writer.add_per_trained_layer(BufferKind::kHostState, &LayerBytes::state);
  add_host_gradients(writer);
  if (writer.settings().trains_embedding) {
    writer.add_per_micro_batch(BufferKind::kEmbedGradientStaging, 0, writer.bytes().activation);
  }
  for (int layer = 0; layer < writer.layer_count(); ++layer) {
    if (trains(writer.settings(), layer)) writer.add(BufferKind::kNorm, layer, kNormBytes);
  }
  writer.add(BufferKind::kDecision, 0, kDecisionBytes);
}

// Slots of the blocks and of the head, and beside each the staging of its cast gradient.
void add_gradient_slots(TableWriter& writer) {
  const StepSettings& settings = writer.settings();
  const StepBytes& bytes = writer.bytes();
  const bool trains_head = trains(settings, settings.block_count + 1);
  const auto add_slots = [&](BufferKind block, BufferKind head, uint64_t LayerBytes::*size) {
    for (int slot = 0; slot < gradient_slot_count(settings); ++slot) {
      writer.add(block, slot, largest_block(bytes, size));
    }
    for (int slot = 0; trains_head && slot < head_slot_count(settings); ++slot) {
      writer.add(head, slot, bytes.head_part.*size);
    }
  };
  add_slots(BufferKind::kGradientSlot, BufferKind::kHeadGradientSlot, &LayerBytes::gradient_slot);
  if (!settings.packs_gradients) return;
  add_slots(BufferKind::kWireStaging, BufferKind::kHeadWireStaging, &LayerBytes::host_gradient);
}

void add_training_device(TableWriter& writer) {
  const StepSettings& settings = writer.settings();
  const StepBytes& bytes = writer.bytes();
  bool recomputes = false;
  for (int block = first_backward_block(settings); block < settings.block_count; ++block) {
    if (keeps(settings, block)) {
      writer.add_per_micro_batch(BufferKind::kSaved, block + 1, bytes.saved);
    } else {
      recomputes = true;
    }
  }
  if (recomputes) writer.add(BufferKind::kRecomputed, 0, bytes.saved);
  if (needs_input_gradient(settings, settings.block_count + 1)) {
    for (int parity = 0; parity < 2; ++parity) {
      writer.add_per_micro_batch(BufferKind::kActivationGradient, parity, bytes.activation);
    }
  }
  if (settings.head_parts > 1) {
    writer.add_per_micro_batch(BufferKind::kHeadInputGradient, 0, bytes.head_input_gradient);
  }
  add_gradient_slots(writer);
}

void add_activations(TableWriter& writer) {
  const StepSettings& settings = writer.settings();
  std::set<int> rows;
  for (int row = 0; row <= settings.block_count; ++row) rows.insert(activation_row(settings, row));
  for (const int row : rows) writer.add_per_micro_batch(BufferKind::kActivation, row, writer.bytes().activation);
}

// Wire weights that a deferred update and a later op of the same step take in turns are cut, so that the other does not
// wait for the whole layer: the embedding's owner by rows, all others where `bytes` says so.
void add_wire(TableWriter& writer, int layer) {
  const StepSettings& settings = writer.settings();
  const LayerBytes& bytes = writer.bytes().layers[static_cast<size_t>(layer)];
  const auto add_piece = [&](int piece, uint64_t piece_bytes) {
    writer.add({.kind = BufferKind::kHostWire, .index = layer, .bytes = piece_bytes, .piece = piece});
  };
  const bool is_cut = trains(settings, layer) && settings.update == UpdateMode::kDeferred;
  const bool holds_embedding = layer == embedding_layer(settings);
  const bool comes_in_parts = layer == settings.block_count + 1 && settings.head_parts > 1;
  if (is_cut && holds_embedding && settings.trains_embedding && bytes.hot_rows > 0) {
    CHECK_LE(bytes.hot_rows, bytes.wire);
    add_piece(kHotRows, bytes.hot_rows);
    add_piece(kColdRows, bytes.wire - bytes.hot_rows);
  } else if (is_cut && !holds_embedding && !comes_in_parts && bytes.wire_pieces.size() > 1) {
    CHECK_EQ(std::accumulate(bytes.wire_pieces.begin(), bytes.wire_pieces.end(), uint64_t{0}), bytes.wire);
    for (size_t piece = 0; piece < bytes.wire_pieces.size(); ++piece) {
      add_piece(static_cast<int>(piece), bytes.wire_pieces[piece]);
    }
  } else {
    add_piece(kWholeLayer, bytes.wire);
  }
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

int embedding_layer(const StepSettings& settings) { return settings.tied_head ? settings.block_count + 1 : 0; }

bool has_layer(const StepSettings& settings, int layer) { return layer > 0 || !settings.tied_head; }

bool trains(const StepSettings& settings, int layer) {
  if (settings.purpose != Purpose::kTrain || !has_layer(settings, layer)) return false;
  return settings.trained_layers.empty() || settings.trained_layers[static_cast<size_t>(layer)] != 0;
}

int first_backward_block(const StepSettings& settings) {
  if (settings.trains_embedding) return 0;
  int block = 0;
  while (block < settings.block_count && !trains(settings, block + 1)) ++block;
  return block;
}

bool needs_input_gradient(const StepSettings& settings, int layer) {
  return settings.trains_embedding || layer - 1 > first_backward_block(settings);
}

bool shares_gradient(const StepSettings& settings) { return settings.tied_head && settings.trains_embedding; }

int head_slot_count(const StepSettings& settings) { return settings.head_parts > 1 ? 2 : 1; }
int head_slot_of(const StepSettings& settings, int part) { return part < 0 ? 0 : part % head_slot_count(settings); }

int weight_slot_count(const StepSettings& settings) {
  return std::min(settings.prefetch_depth, settings.block_count - 1) + 1;  // in this order nothing can overflow
}

int gradient_slot_count(const StepSettings& settings) {
  return std::min(settings.gradient_slots, trained_block_count(settings));
}

int weight_slot_of(const StepSettings& settings, int block) { return block % weight_slot_count(settings); }

int gradient_slot_of(const StepSettings& settings, int block) {
  return backward_turn(settings, block) % gradient_slot_count(settings);
}

int host_gradient_index(const StepSettings& settings, int layer) {
  const bool is_block = layer >= 1 && layer <= settings.block_count;
  if (!is_block || settings.update == UpdateMode::kDeferred) return layer;
  return backward_turn(settings, layer - 1) % host_gradient_ring(settings) + 1;
}

int activation_row(const StepSettings& settings, int row) {
  const bool is_kept = settings.purpose == Purpose::kTrain && row >= first_backward_block(settings);
  return is_kept ? row : row % 2;
}

bool keeps(const StepSettings& settings, int block) {
  return block >= first_backward_block(settings) &&
         settings.activations[static_cast<size_t>(block)] == ActivationPolicy::kKeep;
}

BufferTable build_step_buffers(const StepSettings& settings, const StepBytes& bytes) {
  TableWriter writer(settings, bytes);
  const bool is_training = settings.purpose == Purpose::kTrain;
  const bool generates = settings.purpose == Purpose::kGenerate;

  for (int layer = 0; layer < writer.layer_count(); ++layer) {
    if (has_layer(settings, layer)) add_wire(writer, layer);
  }
  writer.add_per_micro_batch(BufferKind::kEmbedStaging, 0, bytes.activation + bytes.batch_table);
  if (!generates) writer.add(BufferKind::kHostLoss, 0, loss_bytes(settings));
  if (is_training) add_training_host(writer);

  for (int slot = 0; slot < weight_slot_count(settings); ++slot) {
    writer.add(BufferKind::kWeightSlot, slot, largest_block(bytes, &LayerBytes::wire));
  }
  for (int slot = 0; slot < head_slot_count(settings); ++slot) {
    writer.add(BufferKind::kHeadSlot, slot, bytes.head_part.wire);
  }
  writer.add_per_micro_batch(BufferKind::kBatchTable, 0, bytes.batch_table);
  add_activations(writer);
  if (!generates && settings.head_parts > 1) {
    writer.add_per_micro_batch(BufferKind::kHeadStatistics, 0, bytes.head_statistics);
  }
  if (!generates) writer.add(BufferKind::kLoss, 0, loss_bytes(settings));
  writer.add(BufferKind::kWorkspace, 0, bytes.workspace);
  if (is_training) add_training_device(writer);
  if (generates) add_generation(writer);
  return writer.take();
}

}  // namespace penstock
