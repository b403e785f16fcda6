// Sums and maxima over a block in a fixed order: butterflies within each warp, then the warps one after the other.
// The order depends on the number of threads and on nothing else; every thread gets the same result.
#pragma once

#include "model/cuda/block.h"
#include "model/cuda/kernel_math.h"

namespace penstock {

// Over `lanes` neighbouring lanes of a warp, a power of two. All lanes of the warp take part.
template <class Block, class T>
PENSTOCK_KERNEL_CODE T sum_over_lanes(Block& block, T value, int lanes) {
  for (int mask = lanes / 2; mask > 0; mask /= 2) value += block.shuffle_xor(value, mask);
  return value;
}

template <class T>
inline constexpr int64_t kReductionBytes = 2 * kWarpLanes* static_cast<int64_t>(sizeof(T));

// Any number of reductions one after the other, at one barrier each: they alternate between two rows of scratch, so
// that a row is written again only after a barrier that follows its last read.
template <class Block, class T>
class BlockReduction {
 public:
  // `scratch`: kReductionBytes<T> of shared memory that nothing else uses meanwhile.
  PENSTOCK_KERNEL_CODE BlockReduction(Block& block, T* scratch) : block_(block), scratch_(scratch) {}

  PENSTOCK_KERNEL_CODE T sum(T value) {
    return reduce(value, [](T a, T b) { return a + b; });
  }
  PENSTOCK_KERNEL_CODE T largest(T value) {
    return reduce(value, [](T a, T b) { return kernel_math::larger(a, b); });
  }

 private:
  template <class Join>
  PENSTOCK_KERNEL_CODE T reduce(T value, Join join) {
    for (int mask = kWarpLanes / 2; mask > 0; mask /= 2) value = join(value, block_.shuffle_xor(value, mask));
    T* of_warps = scratch_ + turn_ * kWarpLanes;
    turn_ ^= 1;
    if (block_.thread() % kWarpLanes == 0) of_warps[block_.thread() / kWarpLanes] = value;
    block_.barrier();
    T total = of_warps[0];
    for (int warp = 1; warp < block_.threads() / kWarpLanes; ++warp) total = join(total, of_warps[warp]);
    return total;
  }

  Block& block_;
  T* scratch_;
  int turn_ = 0;
};

}  // namespace penstock
