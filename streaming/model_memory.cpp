#include "streaming/model_memory.h"

#include <algorithm>

#include "core/check.h"
#include "model/layer_specs.h"

namespace penstock {
bool in_model_memory(BufferKind kind) {
  return kind == BufferKind::kHostWire || kind == BufferKind::kHostState || kind == BufferKind::kHostGradient;
}

ModelMemory::ModelMemory(const RunShape& shape, const BufferTable& buffers)
    : config_(shape.model), format_(shape.format), layouts_(layer_layouts(shape.model, shape.trainable)) {
  std::vector<Buffer> wanted;
  uint64_t total_bytes = 0;
  for (const Buffer& buffer : buffers.all()) {
    if (!in_model_memory(buffer.kind)) continue;
    wanted.push_back(buffer);
    total_bytes += align_up(buffer.bytes, kPageBytes);
  }
  // Index first, then kind: a layer's wire weights, state and gradient become neighbours.
  std::stable_sort(wanted.begin(), wanted.end(), [](const Buffer& a, const Buffer& b) {
    return a.index != b.index ? a.index < b.index : a.kind < b.kind;
  });
  arena_ = std::make_unique<Arena>("host weights and optimizer state", total_bytes);
  for (const Buffer& buffer : wanted) {
    places_.push_back({buffer.kind, buffer.index,
                       arena_->allocate(align_up(buffer.bytes, kPageBytes), kPageBytes).first(buffer.bytes)});
  }
  arena_->seal();
}

std::span<std::byte> ModelMemory::bytes(BufferKind kind, int index) const {
  const Place* place = find(kind, index);
  CHECK(place != nullptr);
  return place->bytes;
}

void ModelMemory::touch(WorkerTeam& team) {
  constexpr uint64_t kChunkBytes = 256 * kPageBytes;
  for (const Place& place : places_) {
    const uint64_t chunks = align_up(place.bytes.size(), kChunkBytes) / kChunkBytes;
    team.run(static_cast<int64_t>(chunks), [&](int64_t chunk) {
      const uint64_t begin = static_cast<uint64_t>(chunk) * kChunkBytes;
      const uint64_t end = std::min<uint64_t>(begin + kChunkBytes, place.bytes.size());
      for (uint64_t offset = begin; offset < end; offset += kPageBytes) {
        // Volatile: a store of what is there already must not be left out.
        volatile std::byte& first = place.bytes[offset];
        first = first;
      }
    });
  }
}

LayerStateView ModelMemory::layer(int layer) const {
  CHECK_LT(layer, layer_count());
  LayerStateView view{&layouts_[static_cast<size_t>(layer)], format_, {}, {}};
  if (const Place* wire = find(BufferKind::kHostWire, layer)) view.wire = wire->bytes;
  if (const Place* state = find(BufferKind::kHostState, layer)) view.state = state->bytes;
  return view;
}

std::vector<HostRegion> ModelMemory::host_regions() const {
  std::vector<HostRegion> regions;
  for (const Place& place : places_) {
    const bool is_embedding = place.index == 0 && !config_.tie_word_embeddings;
    const bool stays = place.kind == BufferKind::kHostState || is_embedding;
    if (!place.bytes.empty()) regions.push_back({place.bytes, stays ? HostUse::kState : HostUse::kTransfers});
  }
  return regions;
}

const ModelMemory::Place* ModelMemory::find(BufferKind kind, int index) const {
  for (const Place& place : places_) {
    if (place.kind == kind && place.index == index) return &place;
  }
  return nullptr;
}

}  // namespace penstock
