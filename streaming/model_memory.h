// The host memory of one model: per layer its wire weights, optimizer state and gradient, in one sealed arena.
// Outlives devices and schedules: a trainer, an evaluator and a generator may use it one after the other.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/arena.h"
#include "core/device.h"
#include "core/first_touch.h"
#include "core/layer_layout.h"
#include "core/worker_team.h"
#include "model/model_config.h"
#include "optim/host_optimizer.h"
#include "streaming/plan/schedule.h"
#include "streaming/run_plan.h"

namespace penstock {

// Buffers carved from here, at the start of a page; all others are the layer store's.
bool in_model_memory(BufferKind kind);
inline constexpr uint64_t kPageBytes = 4096;

class ModelMemory {
 public:
  // Carves what `buffers` names: wire weights always; state and gradients where the purpose has them. Per layer the
  // order is wire, state, gradient, so that an update streams linearly. Throws Error(kDoesNotFit).
  ModelMemory(const RunShape& shape, const BufferTable& buffers, const ArenaOptions& options = {});

  const ModelConfig& config() const { return config_; }
  StateFormat format() const { return format_; }
  const std::vector<LayerLayout>& layouts() const { return layouts_; }
  int layer_count() const { return static_cast<int>(layouts_.size()); }

  // kHostWire, kHostState or kHostGradient by its index in the table. CHECKs that it exists.
  std::span<std::byte> bytes(BufferKind kind, int index) const;
  // All of it, for a device to register. What crosses the link: wire weights and gradients, an untied embedding's
  // aside.
  std::vector<HostRegion> host_regions() const;
  // Brings fresh pages into memory, before they are filled or pinned. As touch_fresh(): throws Error(kDoesNotFit).
  void touch(WorkerTeam& team, const TouchOptions& options = {});
  uint64_t mapped_bytes() const { return arena_->capacity_bytes(); }
  // As this memory was mapped: for memory that goes with it.
  const ArenaOptions& arena_options() const { return arena_options_; }
  // Wire weights and state of one layer; `state` is empty where the purpose has none or the layer is frozen, both are
  // where the layer has no tensors.
  LayerStateView layer(int layer) const;

 private:
  struct Place {
    BufferKind kind;
    int index;
    std::span<std::byte> bytes;
  };
  const Place* find(BufferKind kind, int index) const;  // null: there is none

  ModelConfig config_;
  StateFormat format_;
  std::vector<LayerLayout> layouts_;
  ArenaOptions arena_options_;
  std::unique_ptr<Arena> arena_;
  std::vector<Place> places_;
};

}  // namespace penstock
