// New keys and values into the cache: a copy between two row layouts (CacheAppendRows in kernel_set.h).
// Bytes: every key and value is read and written once, nothing is computed. The goal is 80% of peak bandwidth for a
// prompt; a decode step moves a few KiB a row and is bound by its launch.
// Not checked here: that every position lies in the cache. Who knows the lengths on the host does that.
#pragma once

#include "model/cuda/kernel_set.h"
#include "model/cuda/row_items.h"
#include "model/cuda/vector_access.h"

namespace penstock {

// An item is a chunk of 16 bytes of a token's keys, then of its values.
template <class T>
struct CacheAppendKernel {
  CacheAppendRows rows;

  template <class Block>
  PENSTOCK_KERNEL_CODE void operator()(Block& block) const {
    const int64_t chunks = chunk_count(rows.kv_width, kChunkElements<T>);
    for_items(block, rows.tokens, 2 * chunks, [this, chunks](int64_t token, int64_t item) {
      const bool is_value = item >= chunks;
      const int64_t first = (is_value ? item - chunks : item) * kChunkElements<T>;
      const T* from =
          static_cast<const T*>(rows.qkv) + token * rows.row_elements + rows.first_key + (is_value ? rows.kv_width : 0);
      const int64_t place = token / rows.length * rows.capacity + rows.positions[token];
      T* to = static_cast<T*>(is_value ? rows.values : rows.keys) + place * rows.kv_width;
      store_chunk(to, first, rows.kv_width, load_chunk(from, first, rows.kv_width));
    });
  }
};

}  // namespace penstock
