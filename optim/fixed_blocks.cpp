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

FixedBlocks::BlockRange FixedBlocks::blocks_of(const TensorPlace& tensor) const {
  const auto is_it = [&](const TensorPlace& other) { return other.spec.name == tensor.spec.name; };
  const auto found = std::ranges::find_if(layout_.tensors(), is_it);
  CHECK(found != layout_.tensors().end());
  const auto index = static_cast<size_t>(found - layout_.tensors().begin());
  return {first_blocks_[index], first_blocks_[index + 1]};
}

}  // namespace penstock
