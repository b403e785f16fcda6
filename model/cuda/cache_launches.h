// The launch of the kernel that appends to the cache.
#pragma once

#include "core/check.h"
#include "model/cuda/cache_kernels.h"
#include "model/cuda/element_type.h"

namespace penstock {

template <class Launcher>
void launch_append_to_cache(Launcher& launcher, DType dtype, const CacheAppendRows& rows) {
  CHECK_LE(rows.first_key + 2 * rows.kv_width, rows.row_elements);
  CHECK_LE(rows.length, rows.capacity);
  with_element_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    const int64_t row_items = 2 * chunk_count(rows.kv_width, kChunkElements<T>);
    launcher.launch(CacheAppendKernel<T>{rows}, item_shape(launcher, rows.tokens, row_items));
  });
}

}  // namespace penstock
