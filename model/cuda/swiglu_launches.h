// Launches of the MLP gate's kernels.
#pragma once

#include "model/cuda/element_type.h"
#include "model/cuda/kernel_set.h"
#include "model/cuda/swiglu_kernels.h"

namespace penstock {

template <class Launcher>
void launch_swiglu(Launcher& launcher, DType dtype, const SwigluForwardRows& rows) {
  with_element_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    const SwigluKernel<T> kernel{rows.rows, rows.width, static_cast<const T*>(rows.gate_up),
                                 static_cast<T*>(rows.activated)};
    launcher.launch(kernel, item_shape(launcher, rows.rows, chunk_count(rows.width, kChunkElements<T>)));
  });
}

template <class Launcher>
void launch_swiglu_backward(Launcher& launcher, DType dtype, const SwigluBackwardRows& rows) {
  with_element_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    const SwigluBackwardKernel<T> kernel{rows.rows,
                                         rows.width,
                                         static_cast<const T*>(rows.gate_up),
                                         static_cast<const T*>(rows.d_activated),
                                         static_cast<T*>(rows.activated),
                                         static_cast<T*>(rows.d_gate_up)};
    launcher.launch(kernel, item_shape(launcher, rows.rows, chunk_count(rows.width, kChunkElements<T>)));
  });
}

}  // namespace penstock
