// AdamW and gradient norms over one layer's host memory. It is a memcpy with arithmetic in its shadow; state_format.h
// has the bytes moved per parameter.
// Independent of thread count and instruction set, and of the parts an update is cut into: fixed blocks of elements,
// one expression order, no fused multiply-adds, counter-based random numbers. Walks tensors, never padding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/layer_layout.h"
#include "core/worker_team.h"
#include "optim/state_format.h"

namespace penstock {

// One layer's bytes. Planes have layout.trainable_elements() elements each and lie in this order inside `state`:
// exact: lo16, m, v; float32, compact: m, v; compact8: m and v side by side in one 16-bit word, then the scales. All
// planes start on 64-byte borders. `wire` holds the frozen tensors too.
struct LayerStateView {
  const LayerLayout* layout = nullptr;
  StateFormat format = StateFormat::kExact;
  std::span<std::byte> wire;
  std::span<std::byte> state;
};

// A layer's gradient on the host, bf16 or fp32 whatever the state format. `touched_rows`, if not empty, has one byte
// per row of the layer's only tensor: rows with 0 have gradient zero and their bytes are never read.
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
  double eps = 1e-8;         // at least fp32's smallest normal number is used, 1.2e-38
  double weight_decay = 0;   // on tensors whose spec decays
  int64_t update_count = 1;  // 1 for the first update: bias correction
  float gradient_scale = 1;  // the clip factor, folded in: g = gradient * gradient_scale
  // Stochastic rounding in `compact` and `compact8`: Philox under key `seed`, counted by (element of the slab,
  // `layer`, update_count), so that no two roundings of a run share a number and a resumed run repeats them.
  uint64_t seed = 0;
  uint32_t layer = 0;
};

// The part of a layer that one call of adamw_update takes. Parts of any kind, in any order, give the bits of one whole
// update, if each element is taken once.
struct UpdatePart {
  // A piece: fixed blocks [first_block, end_block), clamped to the layer's block count (optim/fixed_blocks.h).
  int64_t first_block = 0;
  int64_t end_block = INT64_MAX;
  // Hot rows first: of `row_tensor`, the scale blocks that hold an element of a row with hot_rows[row] = 1. kHot takes
  // those and nothing else of the layer, kCold all the rest, other tensors included.
  enum class Rows : uint8_t { kAll, kHot, kCold };
  Rows rows = Rows::kAll;
  const TensorPlace* row_tensor = nullptr;
  std::span<const uint8_t> hot_rows = {};
};

// PyTorch's AdamW (decoupled decay, bias correction in double, eps outside the square root):
//   p *= 1 - lr * decay;  m += (1 - beta1) * (g - m);  v = beta2 * v + (1 - beta2) * g * g
//   p -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
// `compact` and `compact8` compute in fp32 on what they have stored and round stochastically on the way back.
// Returns false if a new master or its wire weight has an exponent of all ones (infinite or NaN); in `compact8` also if
// a second moment overflows, as its whole scale block could not be updated any more.
bool adamw_update(const LayerStateView& layer, const LayerGradientView& gradient, const AdamWStep& step,
                  WorkerTeam& team, const UpdatePart& part = {});

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
