// Launches of RoPE's kernels.
#pragma once

#include "core/check.h"
#include "model/cuda/element_type.h"
#include "model/cuda/rope_kernels.h"

namespace penstock {

template <class Launcher>
void launch_rope_angles(Launcher& launcher, const RopeAngleRows& rows) {
  CHECK_LE(rows.half, kMostHalfHeadDim);
  launcher.launch(RopeAnglesKernel{rows}, item_shape(launcher, rows.tokens, rows.half));
}

template <class Launcher>
void launch_rope(Launcher& launcher, DType dtype, const RopeRows& rope) {
  CHECK_EQ(rope.head_dim % 2, 0);
  CHECK_LE(rope.heads * rope.head_dim, rope.row_elements);
  with_element_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    const int64_t half = rope.head_dim / 2;
    const RopeKernel<T> kernel{rope.rows,
                               rope.row_elements,
                               rope.heads,
                               half,
                               static_cast<T*>(rope.values),
                               rope.angles.cosines,
                               rope.angles.sines,
                               rope.backward ? -1.0f : 1.0f};
    const int64_t row_items = rope.heads * chunk_count(half, kChunkElements<T>);
    launcher.launch(kernel, item_shape(launcher, rope.rows, row_items));
  });
}

}  // namespace penstock
