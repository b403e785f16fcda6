// Small step settings for the tests of streaming/plan, and the grid that the exhaustive ones walk.
#pragma once

#include <sstream>
#include <string>
#include <vector>

#include "streaming/plan/step_planner.h"

namespace penstock {

// Whether wire weights come in pieces where a deferred update allows it: a block's in 2 to 4, the head's in 3, the
// embedding's rows hot and cold.
enum class Wire : uint8_t { kWhole, kCut };

inline void cut_wire(StepBytes& bytes, bool tied_head) {
  for (size_t layer = 1; layer < bytes.layers.size(); ++layer) {
    LayerBytes& sizes = bytes.layers[layer];
    sizes.wire_pieces.assign(layer + 1 == bytes.layers.size() ? 2 : 1 + layer % 3, 100 + 10 * layer);
    uint64_t taken = 0;
    for (const uint64_t piece : sizes.wire_pieces) taken += piece;
    sizes.wire_pieces.push_back(sizes.wire - taken);
  }
  (tied_head ? bytes.layers.back() : bytes.layers.front()).hot_rows = 550;
}

// A tiny model's sizes: every kind of buffer has a size of its own, so that mixed-up sizes show.
inline StepBytes small_bytes(int block_count, Purpose purpose = Purpose::kTrain, int head_parts = 1) {
  StepBytes bytes;
  for (int layer = 0; layer < block_count + 2; ++layer) {
    const bool block = layer >= 1 && layer <= block_count;
    const uint64_t elements = block ? 1000 : 2000 + static_cast<uint64_t>(layer);
    bytes.layers.push_back(
        {.wire = 2 * elements, .state = 10 * elements, .host_gradient = 2 * elements, .gradient_slot = 4 * elements});
  }
  bytes.head_part = {.wire = 1502, .state = 0, .host_gradient = 1502, .gradient_slot = 3004};
  if (head_parts == 1) bytes.head_part = bytes.layers.back();
  bytes.head_statistics = 410;
  bytes.head_input_gradient = 420;
  bytes.activation = 300;
  bytes.saved = 700;
  bytes.workspace = 900;
  if (purpose == Purpose::kGenerate) {
    bytes.kv_cache = 110;
    bytes.logits = 120;
    bytes.tokens = 16;
  }
  return bytes;
}

// Keeps those of the first 32 blocks whose bit is set in `keep_mask`.
inline std::vector<ActivationPolicy> policies(int block_count, unsigned keep_mask) {
  std::vector<ActivationPolicy> result;
  for (int block = 0; block < block_count; ++block) {
    const bool keep = block < 32 && ((keep_mask >> block) & 1u) != 0;
    result.push_back(keep ? ActivationPolicy::kKeep : ActivationPolicy::kRecompute);
  }
  return result;
}

inline StepSettings training(int block_count, int depth, int micro_batches) {
  StepSettings settings;
  settings.block_count = block_count;
  settings.prefetch_depth = depth;
  settings.micro_batches = micro_batches;
  settings.activations = policies(block_count, 0b0101);
  return settings;
}

inline StepPlanner planner(const StepSettings& settings, Wire wire = Wire::kWhole) {
  StepBytes bytes = small_bytes(settings.block_count, settings.purpose, settings.head_parts);
  if (wire == Wire::kCut) cut_wire(bytes, settings.tied_head);
  return StepPlanner(settings, bytes);
}

inline std::string describe(const StepSettings& settings, Wire wire = Wire::kWhole) {
  std::ostringstream text;
  text << (wire == Wire::kCut ? "in pieces, " : "") << "blocks " << settings.block_count << " depth "
       << settings.prefetch_depth << " gradient slots " << settings.gradient_slots << " micro-batches "
       << settings.micro_batches << " purpose " << static_cast<int>(settings.purpose)
       << (settings.update == UpdateMode::kEager ? " eager" : " deferred")
       << (settings.packs_gradients ? " packs" : " fp32 wire") << " keep ";
  for (const ActivationPolicy policy : settings.activations) text << (policy == ActivationPolicy::kKeep ? 'k' : 'r');
  text << (settings.tied_head ? " tied" : " untied") << " head parts " << settings.head_parts << " trained ";
  for (const uint8_t trained : settings.trained_layers) text << static_cast<int>(trained);
  if (!settings.trains_embedding) text << " not the embedding";
  return text.str();
}

// L 1..6, depth 1..4, gradient slots 1..3, M 1..3, three keep mixes, both update modes, packed and fp32 wire.
inline std::vector<StepSettings> training_grid() {
  std::vector<StepSettings> grid;
  for (int blocks = 1; blocks <= 6; ++blocks) {
    for (int depth = 1; depth <= 4; ++depth) {
      for (int slots = 1; slots <= 3; ++slots) {
        for (int micro_batches = 1; micro_batches <= 3; ++micro_batches) {
          for (const unsigned keep_mask : {0b000000u, 0b101010u, 0b111111u}) {
            StepSettings settings = training(blocks, depth, micro_batches);
            settings.gradient_slots = slots;
            settings.activations = policies(blocks, keep_mask);
            for (const UpdateMode update : {UpdateMode::kDeferred, UpdateMode::kEager}) {
              for (const bool packs : {true, false}) {
                settings.update = update;
                settings.packs_gradients = packs;
                grid.push_back(settings);
              }
            }
          }
        }
      }
    }
  }
  return grid;
}

inline std::vector<StepSettings> forward_only_grid() {
  std::vector<StepSettings> grid;
  for (int blocks = 1; blocks <= 6; ++blocks) {
    for (int depth = 1; depth <= 4; ++depth) {
      StepSettings settings;
      settings.block_count = blocks;
      settings.prefetch_depth = depth;
      settings.purpose = Purpose::kGenerate;
      grid.push_back(settings);
      settings.purpose = Purpose::kEval;
      for (settings.micro_batches = 1; settings.micro_batches <= 3; ++settings.micro_batches) grid.push_back(settings);
    }
  }
  return grid;
}

inline std::vector<StepVariant> variants_of(const StepSettings& settings) {
  switch (settings.purpose) {
    case Purpose::kEval:
      return {StepVariant::kEval};
    case Purpose::kGenerate:
      return {StepVariant::kPrefill, StepVariant::kDecode};
    case Purpose::kTrain:
      break;
  }
  if (settings.update == UpdateMode::kEager) return {StepVariant::kTrain, StepVariant::kEval};
  return {StepVariant::kTrain, StepVariant::kTrainPending, StepVariant::kDrain, StepVariant::kEval};
}

}  // namespace penstock
