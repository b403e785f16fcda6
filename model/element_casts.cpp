#include "model/element_casts.h"

#include <algorithm>

#include "model/parallel_rows.h"
#include "model/row_lanes.h"

namespace penstock {

namespace {

constexpr int64_t kBlockElements = 4096;

template <typename From, typename To>
PENSTOCK_LANES_INLINE void cast_range(const void* from, void* to, int64_t begin, int64_t end) {
  const From* source = static_cast<const From*>(from) + begin;
  To* target = static_cast<To*>(to) + begin;
  lanes::for_row(
      end - begin, [&](const auto& read, const auto& write)
                       __attribute__((always_inline)) { write(target, read(source)); });
}

template <typename From>
PENSTOCK_LANES_INLINE void add_range(const void* from, void* to, int64_t begin, int64_t end) {
  const From* source = static_cast<const From*>(from) + begin;
  float* target = static_cast<float*>(to) + begin;
  lanes::for_row(
      end - begin, [&](const auto& read, const auto& write)
                       __attribute__((always_inline)) { write(target, read(target) + read(source)); });
}

PENSTOCK_ROW_KERNEL void narrow_range(const void* from, void* to, int64_t begin, int64_t end) {
  cast_range<float, bf16_bits>(from, to, begin, end);
}
PENSTOCK_ROW_KERNEL void widen_range(const void* from, void* to, int64_t begin, int64_t end) {
  cast_range<bf16_bits, float>(from, to, begin, end);
}
PENSTOCK_ROW_KERNEL void add_float32_range(const void* from, void* to, int64_t begin, int64_t end) {
  add_range<float>(from, to, begin, end);
}
PENSTOCK_ROW_KERNEL void add_bfloat16_range(const void* from, void* to, int64_t begin, int64_t end) {
  add_range<bf16_bits>(from, to, begin, end);
}

void for_blocks(int64_t count, c10::function_ref<void(int64_t begin, int64_t end)> work) {
  const int64_t blocks = (count + kBlockElements - 1) / kBlockElements;
  parallel_rows(blocks, kBlockElements, [&](int64_t begin, int64_t end) {
    work(begin * kBlockElements, std::min(end * kBlockElements, count));
  });
}

}  // namespace

void cast_elements(DType from_type, const void* from, DType to_type, void* to, int64_t count) {
  for_blocks(count, [&](int64_t begin, int64_t end) {
    if (from_type == to_type) {
      const uint64_t width = dtype_bytes(from_type), skipped = static_cast<uint64_t>(begin) * width;
      std::memcpy(static_cast<std::byte*>(to) + skipped, static_cast<const std::byte*>(from) + skipped,
                  static_cast<uint64_t>(end - begin) * width);
    } else if (to_type == DType::kFloat32) {
      widen_range(from, to, begin, end);
    } else {
      narrow_range(from, to, begin, end);
    }
  });
}

void accumulate_elements(DType from_type, const void* from, float* to, bool accumulate, int64_t count) {
  if (!accumulate) {
    cast_elements(from_type, from, DType::kFloat32, to, count);
    return;
  }
  for_blocks(count, [&](int64_t begin, int64_t end) {
    if (from_type == DType::kFloat32)
      add_float32_range(from, to, begin, end);
    else
      add_bfloat16_range(from, to, begin, end);
  });
}

}  // namespace penstock
