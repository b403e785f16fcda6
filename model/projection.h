// A linear layer of a block as the decoder sees it: the fused weights and, where the model has them, their biases.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "model/bias.h"
#include "model/fused_weight.h"

namespace penstock {

// Scratch of any one call; Projection says how much.
struct ProjectionScratch {
  void* weight;
  void* bias;
};

class Projection {
 public:
  // `names` without ".weight" or ".bias".
  Projection(const LayerLayout& layout, const std::vector<std::string>& names, bool has_bias, DType wire, DType compute,
             DType gradient);

  bool trains() const { return weight_.trains() || bias_.trains(); }
  bool weight_trains() const { return weight_.trains(); }
  // Bytes of scratch.weight that apply(), apply_add() and input_gradient() need; that add_gradients() needs; and of
  // scratch.bias.
  uint64_t operand_scratch() const { return weight_.operand_scratch(); }
  uint64_t gradient_scratch() const { return weight_.gradient_scratch(); }
  uint64_t bias_scratch() const { return static_cast<uint64_t>(bias_.elements()) * dtype_bytes(compute_); }

  // y = x W^T + b, rounded once.
  void apply(Maths& maths, std::span<const std::byte> weights, const MatrixView& x, const ProjectionScratch& scratch,
             const MatrixView& y) const;
  // y = residual + x W^T + b. Without a bias rounded once; with one as transformers rounds it: after b, after the sum.
  void apply_add(Maths& maths, std::span<const std::byte> weights, const MatrixView& residual, const MatrixView& x,
                 const ProjectionScratch& scratch, const MatrixView& y) const;
  // d_x = d_y W
  void input_gradient(Maths& maths, std::span<const std::byte> weights, const MatrixView& d_y,
                      const ProjectionScratch& scratch, const MatrixView& d_x) const;
  // gradient = or += those of the trained weights and biases. `x` is read only where weight_trains().
  void add_gradients(Maths& maths, const MatrixView& d_y, const MatrixView& x, std::span<float> gradient,
                     bool accumulate, const ProjectionScratch& scratch) const;

 private:
  FusedWeight weight_;
  FusedBias bias_;
  DType compute_;
};

}  // namespace penstock
