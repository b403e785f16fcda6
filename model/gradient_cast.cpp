#include "model/gradient_cast.h"

#include <algorithm>

#include "core/bf16.h"
#include "core/check.h"
#include "model/parallel_rows.h"

namespace penstock {
namespace {

constexpr int64_t kBlockElements = 4096;

__attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"))) void pack_block(
    const float* __restrict from, bf16_bits* __restrict to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = bf16_from_float(from[i]);
}

}  // namespace

void pack_bf16(std::span<const float> from, std::span<std::byte> to) {
  CHECK_EQ(to.size(), from.size() * sizeof(bf16_bits));
  const int64_t count = static_cast<int64_t>(from.size());
  bf16_bits* packed = reinterpret_cast<bf16_bits*>(to.data());
  parallel_rows((count + kBlockElements - 1) / kBlockElements, kBlockElements, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * kBlockElements;
    pack_block(from.data() + first, packed + first, std::min(end * kBlockElements, count) - first);
  });
}

}  // namespace penstock
