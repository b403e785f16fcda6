#include "streaming/layer_store.h"

#include "core/check.h"

namespace penstock {

LayerStore::LayerStore(const BufferTable& buffers, ModelMemory& memory, Device& device)
    : buffers_(buffers), memory_(memory), tags_(buffers.size()) {
  uint64_t host_bytes = 0;
  for (const Buffer& buffer : buffers_.all()) {
    if (!on_device(buffer.kind) && !in_model_memory(buffer.kind)) host_bytes += align_up(buffer.bytes, kPageBytes);
  }
  host_arena_ = std::make_unique<Arena>("host staging", host_bytes);
  bytes_.reserve(buffers_.size());
  for (const Buffer& buffer : buffers_.all()) {
    if (in_model_memory(buffer.kind)) {
      bytes_.push_back(memory_.bytes(buffer.kind, buffer.index));
    } else if (on_device(buffer.kind)) {
      bytes_.push_back(device.allocate(buffer_kind_name(buffer.kind), buffer.bytes).first(buffer.bytes));
    } else {
      bytes_.push_back(host_arena_->allocate(align_up(buffer.bytes, kPageBytes), kPageBytes).first(buffer.bytes));
    }
    CHECK_EQ(bytes_.back().size(), buffer.bytes);
  }
  host_arena_->seal();
  device.seal();
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
