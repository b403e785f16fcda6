// AdamW and gradient norms over one layer's host memory. It is a memcpy with arithmetic in its shadow: 26 bytes per
// parameter in `exact`, 28 in `float32`.
// Independent of thread count and instruction set: fixed blocks of elements, one expression order, no fused
// multiply-adds, exact sqrt and divide. Walks tensors, never padding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/layer_layout.h"
#include "core/worker_team.h"
#include "optim/state_format.h"

namespace penstock {

// One layer's bytes. Planes have layout.trainable_elements() elements each and lie in this order inside `state`:
// exact: lo16, m, v; float32: m, v. All planes start on 64-byte borders. `wire` holds the frozen tensors too.
struct LayerStateView {
  const LayerLayout* layout = nullptr;
  StateFormat format = StateFormat::kExact;
  std::span<std::byte> wire;
  std::span<std::byte> state;
};

// A layer's gradient on the host. `touched_rows`, if not empty, has one byte per row of the layer's only tensor: rows
// with 0 have gradient zero and their bytes are never read.
struct LayerGradientView {
  const LayerLayout* layout = nullptr;
  DType dtype = DType::kBFloat16;
  std::span<const std::byte> bytes;
  std::span<const uint8_t> touched_rows;
};

struct AdamWStep {
  double learning_rate = 0;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0;   // on tensors whose spec decays
  int64_t update_count = 1;  // 1 for the first update: bias correction
  float gradient_scale = 1;  // the clip factor, folded in: g = gradient * gradient_scale
};

// PyTorch's AdamW (decoupled decay, bias correction in double, eps outside the square root):
//   p *= 1 - lr * decay;  m += (1 - beta1) * (g - m);  v = beta2 * v + (1 - beta2) * g * g
//   p -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
// Returns false if a new master or its wire weight has an exponent of all ones (infinite or NaN).
bool adamw_update(const LayerStateView& layer, const LayerGradientView& gradient, const AdamWStep& step,
                  WorkerTeam& team);

struct GradientNorm {
  double sum_of_squares = 0;  // in double, over fixed blocks, summed in block order
  bool finite = true;
};
GradientNorm gradient_norm(const LayerGradientView& gradient, WorkerTeam& team);

// PyTorch's clip_grad_norm_: min(1, max_norm / (norm + 1e-6)); 1 when max_norm is 0 (clipping off).
float clip_factor(double norm, double max_norm);

// Master weights in fp32, one tensor: from the planes, and into them (moments are zeroed by `write_master`).
void read_master(const LayerStateView& layer, const TensorPlace& tensor, std::span<float> master);
void write_master(const LayerStateView& layer, const TensorPlace& tensor, std::span<const float> master);
// A part of a tensor, from `first_element` on; moments of that part are zeroed. CHECKs that it lies in the tensor.
void write_master(const LayerStateView& layer, const TensorPlace& tensor, uint64_t first_element,
                  std::span<const float> master);

}  // namespace penstock
