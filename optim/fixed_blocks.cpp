#include "optim/fixed_blocks.h"

#include <algorithm>

#include "core/check.h"

namespace penstock {

FixedBlocks::FixedBlocks(const LayerLayout& layout) : layout_(layout) {
  first_blocks_.reserve(layout.tensors().size() + 1);
  first_blocks_.push_back(0);
  for (const TensorPlace& tensor : layout.tensors()) {
    const auto count = tensor.spec.trainable ? static_cast<int64_t>(tensor.element_count) : 0;
    first_blocks_.push_back(first_blocks_.back() + (count + kBlockElements - 1) / kBlockElements);
  }
}

Block FixedBlocks::block(int64_t index) const {
  CHECK_GE(index, 0);
  CHECK_LT(index, block_count());
  const auto after = std::upper_bound(first_blocks_.begin(), first_blocks_.end(), index);
  const auto tensor_index = static_cast<size_t>(after - first_blocks_.begin() - 1);
  const TensorPlace& tensor = layout_.tensors()[tensor_index];
  const int64_t begin = (index - first_blocks_[tensor_index]) * kBlockElements;
  return {&tensor, begin, std::min(begin + kBlockElements, static_cast<int64_t>(tensor.element_count))};
}

RowRun row_run_at(const Block& block, int64_t begin, std::span<const uint8_t> touched_rows) {
  if (touched_rows.empty()) return {begin, block.element_count(), true};
  const auto row_count = static_cast<int64_t>(touched_rows.size());
  const int64_t row_elements = static_cast<int64_t>(block.tensor->element_count) / row_count;
  int64_t row = (block.begin + begin) / row_elements;
  const bool touched = touched_rows[static_cast<size_t>(row)] != 0;
  while (row < row_count && row * row_elements < block.end &&
         (touched_rows[static_cast<size_t>(row)] != 0) == touched) {
    ++row;
  }
  return {begin, std::min(row * row_elements, block.end) - block.begin, touched};
}

}  // namespace penstock
