#include "streaming/model_memory.h"

#include <algorithm>

#include "core/check.h"
#include "model/layer_specs.h"

namespace penstock {
bool in_model_memory(BufferKind kind) {
  return kind == BufferKind::kHostWire || kind == BufferKind::kHostState || kind == BufferKind::kHostGradient;
}

namespace {

// One per kind and index: the pieces of a layer's wire weights lie in one run of bytes.
std::vector<Buffer> model_buffers(const BufferTable& buffers) {
  std::vector<Buffer> wanted;
  for (const Buffer& buffer : buffers.all()) {
    if (!in_model_memory(buffer.kind)) continue;
    const bool continues = buffer.piece != kWholeLayer && !wanted.empty() && wanted.back().kind == buffer.kind &&
                           wanted.back().index == buffer.index;
    if (continues) {
      wanted.back().bytes += buffer.bytes;
    } else {
      wanted.push_back(buffer);
    }
  }
  return wanted;
}

}  // namespace

ModelMemory::ModelMemory(const RunShape& shape, const BufferTable& buffers, const ArenaOptions& options)
    : config_(shape.model),
      format_(shape.format),
      layouts_(layer_layouts(shape.model, shape.trainable)),
      arena_options_(options) {
  std::vector<Buffer> wanted = model_buffers(buffers);
  uint64_t total_bytes = 0;
  for (const Buffer& buffer : wanted) total_bytes += align_up(buffer.bytes, kPageBytes);
  // Index first, then kind: a layer's wire weights, state and gradient become neighbours.
  std::stable_sort(wanted.begin(), wanted.end(), [](const Buffer& a, const Buffer& b) {
    return a.index != b.index ? a.index < b.index : a.kind < b.kind;
  });
  arena_ = std::make_unique<Arena>("host weights and optimizer state", total_bytes, arena_options_);
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

void ModelMemory::touch(WorkerTeam& team, const TouchOptions& options) {
  std::vector<std::span<std::byte>> regions;
  for (const Place& place : places_) regions.push_back(place.bytes);
  touch_fresh(regions, team, options);
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
