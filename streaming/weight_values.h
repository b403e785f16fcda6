// Values of one tensor into and out of a layer's host memory, whatever it holds: master and state while a tensor is
// trained, wire weights alone where it is frozen or the purpose is evaluation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/dtype.h"
#include "optim/host_optimizer.h"

namespace penstock {

// True where the tensor has a remainder and moments beside its wire weights.
bool has_state(const LayerStateView& view, const TensorPlace& place);

// Values from element `first` on, into wire weights and, zeroing the moments, state.
void store_values(const LayerStateView& view, const TensorPlace& place, uint64_t first, std::span<const float> values);

// The wire weights of `count` elements. Whoever writes those of a tensor with state calls clear_moments(): no
// remainder, moments zero, which is exactly the state of a master that the wire weight holds in full.
std::span<std::byte> wire_elements(const LayerStateView& view, const TensorPlace& place, uint64_t first,
                                   uint64_t count);

// The bytes of elements from `first` on in `dtype` (float32 or bfloat16). float32 is the master where there is one
// beyond the wire weight, else the wire weight widened.
void read_values(const LayerStateView& view, const TensorPlace& place, DType dtype, uint64_t first,
                 std::span<std::byte> out);

}  // namespace penstock
