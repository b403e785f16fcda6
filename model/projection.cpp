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
                       DType compute)
    : weight_(layout, with_suffix(names, ".weight"), wire, compute), compute_(compute) {
  if (has_bias) bias_ = FusedBias(layout, with_suffix(names, ".bias"), wire, compute);
}

void Projection::apply(std::span<const std::byte> weights, const MatrixView& x, const ProjectionScratch& scratch,
                       const MatrixView& y) const {
  const MatrixView weight = weight_.operand(weights, scratch.weight);
  if (!bias_.exists()) {
    linear(compute_, x, weight, y);
    return;
  }
  bias_.gather(weights, scratch.bias);
  linear_bias(compute_, x, weight, scratch.bias, y);
}

void Projection::apply_add(std::span<const std::byte> weights, const MatrixView& residual, const MatrixView& x,
                           const ProjectionScratch& scratch, const MatrixView& y) const {
  if (!bias_.exists()) {
    linear_add(compute_, residual, x, weight_.operand(weights, scratch.weight), y);
    return;
  }
  apply(weights, x, scratch, y);
  add_rows(compute_, residual, y);
}

void Projection::input_gradient(std::span<const std::byte> weights, const MatrixView& d_y,
                                const ProjectionScratch& scratch, const MatrixView& d_x) const {
  linear_input_gradient(compute_, d_y, weight_.operand(weights, scratch.weight), d_x);
}

void Projection::add_gradients(const MatrixView& d_y, const MatrixView& x, std::span<float> gradient, bool accumulate,
                               const ProjectionScratch& scratch) const {
  weight_.add_gradient(d_y, x, gradient, accumulate, scratch.weight);
  bias_.add_gradient(d_y, gradient, accumulate);
}

}  // namespace penstock
