#include "model/projection.h"

namespace penstock {

namespace {

std::vector<std::string> with_suffix(const std::vector<std::string>& names, const char* suffix) {
  std::vector<std::string> full;
  for (const std::string& name : names) full.push_back(name + suffix);
  return full;
}

}  // namespace

Projection::Projection(const LayerLayout& layout, const std::vector<std::string>& names, bool has_bias, DType wire,
                       DType compute, DType gradient)
    : weight_(layout, with_suffix(names, ".weight"), wire, compute, gradient), compute_(compute) {
  if (has_bias) bias_ = FusedBias(layout, with_suffix(names, ".bias"), wire, compute);
}

void Projection::apply(Maths& maths, std::span<const std::byte> weights, const MatrixView& x,
                       const ProjectionScratch& scratch, const MatrixView& y) const {
  const MatrixView weight = weight_.operand(maths, weights, scratch.weight);
  if (!bias_.exists()) {
    maths.linear(compute_, x, weight, y);
    return;
  }
  bias_.gather(maths, weights, scratch.bias);
  maths.linear_bias(compute_, x, weight, scratch.bias, y);
}

void Projection::apply_add(Maths& maths, std::span<const std::byte> weights, const MatrixView& residual,
                           const MatrixView& x, const ProjectionScratch& scratch, const MatrixView& y) const {
  if (!bias_.exists()) {
    maths.linear_add(compute_, residual, x, weight_.operand(maths, weights, scratch.weight), y);
    return;
  }
  apply(maths, weights, x, scratch, y);
  maths.add_rows(compute_, residual, y);
}

void Projection::input_gradient(Maths& maths, std::span<const std::byte> weights, const MatrixView& d_y,
                                const ProjectionScratch& scratch, const MatrixView& d_x) const {
  maths.linear_input_gradient(compute_, d_y, weight_.operand(maths, weights, scratch.weight), d_x);
}

void Projection::add_gradients(Maths& maths, const MatrixView& d_y, const MatrixView& x, std::span<float> gradient,
                               bool accumulate, const ProjectionScratch& scratch) const {
  weight_.add_gradient(maths, d_y, x, gradient, accumulate, scratch.weight);
  bias_.add_gradient(maths, d_y, gradient, accumulate);
}

}  // namespace penstock
