// Step settings of models that are not plain: tied heads, frozen layers, heads in parts.
#pragma once

#include <vector>

#include "step_settings_grid.h"

namespace penstock {

// The embedding, the blocks and the head of `settings`, trained where the mask has a bit (bit 0: the embedding).
inline StepSettings with_trained(StepSettings settings, unsigned mask) {
  const int head = settings.block_count + 1;
  settings.trained_layers.clear();
  for (int layer = 0; layer <= head; ++layer) settings.trained_layers.push_back((mask >> layer) & 1u);
  settings.trains_embedding = (mask & 1u) != 0;
  if (settings.tied_head && settings.trains_embedding) settings.trained_layers.back() = 1;
  return settings;
}

// Tied heads, frozen layers and heads in parts, with every kind of update and wire.
inline std::vector<StepSettings> model_grid() {
  std::vector<StepSettings> grid;
  for (const int blocks : {1, 3, 4}) {
    const unsigned all = (1u << (blocks + 2)) - 1, head = 1u << (blocks + 1), top = head | head >> 1;
    for (const unsigned mask : {all, all & ~1u, all & ~head, head, top, top & ~head, 0b10101u & all, 0b00101u & all}) {
      for (int choice = 0; choice < 32; ++choice) {
        StepSettings settings = training(blocks, 1 + choice % 2, 1 + choice / 2 % 2);
        settings.gradient_slots = 1 + choice % 3;
        settings.update = choice / 4 % 2 == 0 ? UpdateMode::kDeferred : UpdateMode::kEager;
        settings.packs_gradients = choice / 8 % 2 == 0;
        settings.tied_head = choice / 16 % 2 == 1;
        for (const int parts : {1, 2, 3, 5}) {
          settings.head_parts = parts;
          grid.push_back(with_trained(settings, mask));
        }
      }
    }
  }
  for (StepSettings settings : forward_only_grid()) {
    settings.tied_head = settings.block_count % 2 == 0;
    settings.head_parts = settings.block_count;
    grid.push_back(settings);
  }
  return grid;
}

inline std::vector<StepSettings> whole_grid() {
  std::vector<StepSettings> grid = training_grid();
  for (const std::vector<StepSettings>& more : {forward_only_grid(), model_grid()}) {
    grid.insert(grid.end(), more.begin(), more.end());
  }
  return grid;
}

struct PlannedCase {
  StepSettings settings;
  Wire wire;
};

// The whole grid, and the same in pieces where settings cut anything.
inline std::vector<PlannedCase> whole_and_cut_grid() {
  std::vector<PlannedCase> grid;
  for (const StepSettings& settings : whole_grid()) {
    grid.push_back({settings, Wire::kWhole});
    const bool cuts = settings.purpose == Purpose::kTrain && settings.update == UpdateMode::kDeferred;
    if (cuts) grid.push_back({settings, Wire::kCut});
  }
  return grid;
}

}  // namespace penstock
