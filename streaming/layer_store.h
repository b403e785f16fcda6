// Buffer id -> bytes, for every buffer of one table, and the tags that say which layer a weight slot holds.
// The only place that knows both the schedule's names and the memory behind them.
// Invariant: everything is allocated in the constructor; device and arenas are sealed when it returns.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/arena.h"
#include "core/device.h"
#include "streaming/model_memory.h"
#include "streaming/plan/schedule.h"

namespace penstock {

// What a weight slot holds. Written when a fetch is issued, read when a use is issued: tickets make issue order a
// linear extension of the schedule's order, so a mismatch is a bug in the schedule or the executor.
struct SlotTag {
  int layer = -1;
  int part = -1;
  uint64_t layout_hash = 0;
  uint64_t step = 0;
};

class LayerStore {
 public:
  // Throws Error(kDoesNotFit) when the device's budget or the host's memory does not suffice. Host memory of its own is
  // mapped as `memory` is; `team` touches it first, null leaves that to whoever comes.
  LayerStore(const BufferTable& buffers, ModelMemory& memory, Device& device, WorkerTeam* team = nullptr);

  const BufferTable& buffers() const { return buffers_; }
  ModelMemory& memory() { return memory_; }
  std::span<std::byte> bytes(BufferIndex buffer) const;

  void set_tag(BufferIndex slot, const SlotTag& tag);
  // CHECKs that the slot holds that layer of that step.
  void check_tag(BufferIndex slot, const SlotTag& expected) const;

 private:
  void touch_host(WorkerTeam& team);
  std::vector<HostRegion> host_regions() const;

  BufferTable buffers_;
  ModelMemory& memory_;
  std::unique_ptr<Arena> host_arena_;
  std::unique_ptr<HostRegistration> registration_;  // of all host memory that the link touches; ends before the arena
  std::vector<std::span<std::byte>> bytes_;
  std::vector<SlotTag> tags_;
};

}  // namespace penstock
