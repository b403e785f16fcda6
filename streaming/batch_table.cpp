#include "streaming/batch_table.h"

#include <cstring>

#include "core/bytes.h"
#include "core/check.h"
#include "core/layer_layout.h"

namespace penstock {
namespace {

void write_array(std::span<const int32_t> values, std::span<std::byte> to) {
  CHECK_LE(values.size_bytes(), to.size());
  if (!values.empty()) std::memcpy(to.data(), values.data(), values.size_bytes());
}

}  // namespace

uint64_t BatchTable::targets_offset() const {
  return align_up(static_cast<uint64_t>(most_tokens_) * sizeof(int32_t), kTensorAlignment);
}

uint64_t BatchTable::segments_offset() const { return 2 * targets_offset(); }

// One more segment start than there can be segments.
uint64_t BatchTable::bytes() const {
  return segments_offset() + align_up(static_cast<uint64_t>(most_tokens_ + 1) * sizeof(int32_t), kTensorAlignment);
}

void BatchTable::write(const BatchView& batch, std::span<std::byte> table) const {
  CHECK_EQ(table.size(), bytes());
  CHECK_LE(batch.rows * batch.length, most_tokens_);
  write_array(batch.positions, table.first(targets_offset()));
  write_array(batch.targets, table.subspan(targets_offset(), targets_offset()));
  write_array(batch.segment_starts, table.subspan(segments_offset()));
}

BatchView BatchTable::on_device(BatchView batch, std::span<const std::byte> table) const {
  CHECK_EQ(table.size(), bytes());
  const auto array = [&](uint64_t offset) { return reinterpret_cast<const int32_t*>(table.data() + offset); };
  batch.device = {array(0), array(targets_offset()), array(segments_offset())};
  return batch;
}

}  // namespace penstock
