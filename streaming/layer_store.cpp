#include "streaming/layer_store.h"

#include <algorithm>

#include "core/check.h"
#include "core/first_touch.h"

namespace penstock {
namespace {

// Of the host buffers outside of the model's memory.
bool crosses_link(BufferKind kind) {
  return kind == BufferKind::kEmbedStaging || kind == BufferKind::kEmbedGradientStaging ||
         kind == BufferKind::kHostLoss || kind == BufferKind::kHostLogits;
}

}  // namespace

LayerStore::LayerStore(const BufferTable& buffers, ModelMemory& memory, Device& device, WorkerTeam* team)
    : buffers_(buffers), memory_(memory), tags_(buffers.size()) {
  uint64_t host_bytes = 0, device_bytes = 0;
  for (const Buffer& buffer : buffers_.all()) {
    if (in_model_memory(buffer.kind)) continue;
    (on_device(buffer.kind) ? device_bytes : host_bytes) += align_up(buffer.bytes, kPageBytes);
  }
  ArenaOptions arena_options = memory_.arena_options();
  arena_options.notice = {};  // what the system refuses here, it has refused for the model's memory
  host_arena_ = std::make_unique<Arena>("host staging", host_bytes, arena_options);
  std::span<std::byte> device_arena = device.allocate("slots, activations and workspace", device_bytes);
  bytes_.reserve(buffers_.size());
  uint64_t piece_offset = 0;
  for (const Buffer& buffer : buffers_.all()) {
    const uint64_t padded_bytes = align_up(buffer.bytes, kPageBytes);
    if (in_model_memory(buffer.kind)) {
      const std::span<std::byte> layer = memory_.bytes(buffer.kind, buffer.index);
      if (buffer.piece <= 0) piece_offset = 0;
      bytes_.push_back(buffer.piece >= 0 ? layer.subspan(piece_offset, buffer.bytes) : layer);
      piece_offset += buffer.bytes;
    } else if (on_device(buffer.kind)) {
      bytes_.push_back(device_arena.first(buffer.bytes));
      device_arena = device_arena.subspan(padded_bytes);
    } else {
      bytes_.push_back(host_arena_->allocate(padded_bytes, kPageBytes).first(buffer.bytes));
    }
    const bool by_rows =
        buffer.piece == kHotRows || buffer.piece == kColdRows;  // these name the layer's bytes in turns
    if (!by_rows) CHECK_EQ(bytes_.back().size(), buffer.bytes);
  }
  host_arena_->seal();
  if (team != nullptr) touch_host(*team);
  registration_ = device.register_host(host_regions());
  device.seal();
}

void LayerStore::touch_host(WorkerTeam& team) {
  std::vector<std::span<std::byte>> regions;
  for (size_t i = 0; i < bytes_.size(); ++i) {
    const BufferKind kind = buffers_.all()[i].kind;
    if (!in_model_memory(kind) && !on_device(kind) && !bytes_[i].empty()) regions.push_back(bytes_[i]);
  }
  touch_fresh(regions, team, {.calls = memory_.arena_options().calls});
}

std::vector<HostRegion> LayerStore::host_regions() const {
  std::vector<HostRegion> regions = memory_.host_regions();
  for (size_t i = 0; i < bytes_.size(); ++i) {
    const BufferKind kind = buffers_.all()[i].kind;
    if (in_model_memory(kind) || on_device(kind) || bytes_[i].empty()) continue;
    regions.push_back({bytes_[i], crosses_link(kind) ? HostUse::kTransfers : HostUse::kState});
  }
  std::sort(regions.begin(), regions.end(),
            [](const HostRegion& a, const HostRegion& b) { return a.bytes.data() < b.bytes.data(); });
  return regions;
}

std::span<std::byte> LayerStore::bytes(BufferIndex buffer) const {
  CHECK_LT(buffer, bytes_.size());
  return bytes_[buffer];
}

void LayerStore::set_tag(BufferIndex slot, const SlotTag& tag) {
  CHECK_LT(slot, tags_.size());
  tags_[slot] = tag;
}

void LayerStore::check_tag(BufferIndex slot, const SlotTag& expected) const {
  CHECK_LT(slot, tags_.size());
  CHECK_EQ(tags_[slot].layer, expected.layer);
  CHECK_EQ(tags_[slot].part, expected.part);
  CHECK_EQ(tags_[slot].step, expected.step);
  CHECK_EQ(tags_[slot].layout_hash, expected.layout_hash);
}

}  // namespace penstock
