// RoPE: the angles of a micro-batch's tokens, and the rotation of packed rows in place (model/rope.h).
// Bytes of a rotation: every element of the rotated heads is read and written once, 4 bytes in bf16 and 8 in fp32. The
// angles, 4 bytes per element of one head, come from DRAM once per row and from L1 for the other heads: 1/40 of the
// bytes with 40 heads in bf16. 6 operations per pair: bound by memory, the goal is 80% of peak bandwidth.
// An item is a chunk of 16 bytes of a head's low half and the same chunk of its high half, so that one thread reads
// and writes whole pairs. Heads whose half is no multiple of 8 elements (4 in fp32) move element by element.
// Angles are 8 bytes written for two range reductions each: bound by arithmetic, but run once per micro-batch.
#pragma once

#include "model/cuda/kernel_math.h"
#include "model/cuda/kernel_set.h"
#include "model/cuda/row_items.h"
#include "model/cuda/vector_access.h"

namespace penstock {

// The product is rounded to fp32 before the accurate functions take it, as on the host: positions up to a million stay
// as exact as the host's.
struct RopeAnglesKernel {
  RopeAngleRows rows;

  template <class Block>
  PENSTOCK_KERNEL_CODE void operator()(Block& block) const {
    for_items(block, rows.tokens, rows.half, [this](int64_t token, int64_t i) {
      const float angle = static_cast<float>(rows.positions[token]) * rows.inverse[i];
      rows.angles.cosines[token * rows.half + i] = kernel_math::cosine(angle) * rows.scale;
      rows.angles.sines[token * rows.half + i] = kernel_math::sine(angle) * rows.scale;
    });
  }
};

template <class T>
struct RopeKernel {
  int64_t rows, row_elements, heads, half;
  T* values;
  const float* cosines;
  const float* sines;
  float direction;  // -1: back

  template <class Block>
  PENSTOCK_KERNEL_CODE void operator()(Block& block) const {
    const auto chunks = static_cast<uint32_t>(chunk_count(half, kChunkElements<T>));
    for_items(block, rows, heads * chunks, [this, chunks](int64_t row, int64_t item) {
      const uint32_t head = static_cast<uint32_t>(item) / chunks, chunk = static_cast<uint32_t>(item) % chunks;
      rotate(values + row * row_elements + head * 2 * half, row * half, int64_t{chunk} * kChunkElements<T>);
    });
  }

 private:
  PENSTOCK_KERNEL_CODE void rotate(T* low_half, int64_t first_angle, int64_t first) const {
    constexpr int kElements = kChunkElements<T>;
    T* high_half = low_half + half;
    Chunk<T> low = load_chunk(low_half, first, half), high = load_chunk(high_half, first, half);
    const auto cosine = load_chunk<float, kElements>(cosines + first_angle, first, half);
    const auto sine = load_chunk<float, kElements>(sines + first_angle, first, half);
    PENSTOCK_UNROLL
    for (int i = 0; i < kElements; ++i) {
      const float a = low.value(i), b = high.value(i), c = cosine.value(i), s = sine.value(i) * direction;
      low.set(i, a * c - b * s);
      high.set(i, b * c + a * s);
    }
    store_chunk(low_half, first, half, low);
    store_chunk(high_half, first, half, high);
  }
};

}  // namespace penstock
