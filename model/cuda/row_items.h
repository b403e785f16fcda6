// How kernels without a sum share their work: rows of equal items, numbered row after row. A block takes neighbouring
// items, thread by thread, so that neighbouring lanes touch neighbouring bytes. Items may be done in any order.
#pragma once

#include <cstdint>

#include "core/check.h"
#include "model/cuda/block.h"

namespace penstock {

// Of a thread: a 64-bit division, about as dear as an item, is paid once for so many.
inline constexpr int kItemsOfThread = 4;

template <class Launcher>
LaunchShape item_shape(const Launcher& launcher, int64_t rows, int64_t row_items) {
  CHECK_LT(row_items, int64_t{1} << 31);  // so that a block's items, counted from its first row, fit 32 bits
  const int64_t items = rows * row_items;
  const int threads = threads_for(ceil_divide(items, kItemsOfThread), launcher.threads_per_block());
  return {ceil_divide(items, int64_t{threads} * kItemsOfThread), threads, 0};
}

// Calls work(row, item) for each item of this thread.
template <class Block, class Work>
PENSTOCK_KERNEL_CODE void for_items(const Block& block, int64_t rows, int64_t row_items, const Work& work) {
  const int64_t first = block.block() * block.threads() * kItemsOfThread;
  const int64_t first_row = first / row_items;
  const auto divisor = static_cast<uint32_t>(row_items);
  auto place = static_cast<uint32_t>(first - first_row * row_items) + static_cast<uint32_t>(block.thread());
  for (int i = 0; i < kItemsOfThread; ++i, place += static_cast<uint32_t>(block.threads())) {
    const int64_t row = first_row + place / divisor;
    if (row >= rows) return;
    work(row, static_cast<int64_t>(place % divisor));
  }
}

}  // namespace penstock
