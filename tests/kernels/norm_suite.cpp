// RMSNorm of rows, forward and backward.
// Given the kernel's rstd, what it normalises is fixed to the bit; d_x and the weight's gradient are sums.
#include "kernel_checks.h"

namespace penstock {
namespace {

constexpr float kEps = 1e-5f;
// Of a sum of fp32 products in any order, relative to the sum of their magnitudes.
constexpr double kSumError = 2e-6;

struct NormCase {
  DType dtype;
  int64_t rows, width;
  int64_t offset = 0;  // of rows from a 64-byte border, in elements
};

std::vector<NormCase> norm_cases() {
  std::vector<NormCase> cases;
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const int64_t width : {1, 3, 31, 33, 64, 127, 257, 1000}) cases.push_back({dtype, 19, width});
    cases.push_back({dtype, 5, 64, 1});
    cases.push_back({dtype, 2, 2100});    // more than one thread of 32 holds
    cases.push_back({dtype, 17, 12500});  // more columns than shared memory has sums for
  }
  return cases;
}

std::ostream& operator<<(std::ostream& out, const NormCase& c) {
  return out << dtype_name(c.dtype) << " " << c.rows << "x" << c.width << " offset " << c.offset;
}

std::vector<float> weights_of(int64_t width) {
  std::vector<float> weight = random_floats(DType::kFloat32, width, 9);
  for (float& value : weight) value = 1 + 0.25f * value;
  return weight;
}

std::vector<Expected> exact_rstd(const NormCase& c, const std::vector<float>& x) {
  std::vector<Expected> rstd;
  for (int64_t row = 0; row < c.rows; ++row) {
    double squares = 0;
    for (int64_t i = 0; i < c.width; ++i) squares += std::pow(double{x[static_cast<size_t>(row * c.width + i)]}, 2);
    const double value = 1 / std::sqrt(squares / static_cast<double>(c.width) + kEps);
    rstd.push_back({value, kSumError * value});
  }
  return rstd;
}

// round(x * rstd), and that times the weight.
float scaled(DType dtype, float x, float rstd) { return as_stored(dtype, x * rstd); }

std::vector<float> normed_by(const NormCase& c, const std::vector<float>& x, const std::vector<float>& rstd,
                             const std::vector<float>& weight) {
  std::vector<float> normed(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const auto width = static_cast<size_t>(c.width);
    normed[i] = as_stored(c.dtype, scaled(c.dtype, x[i], rstd[i / width]) * weight[i % width]);
  }
  return normed;
}

TEST_P(KernelSuite, RmsNorm) {
  for (const NormCase& c : norm_cases()) {
    SCOPED_TRACE(testing::Message() << c);
    const std::vector<float> x = random_floats(c.dtype, c.rows * c.width, 7), weight = weights_of(c.width);
    const RigValues x_in(rig(), c.dtype, x, c.offset), weight_in(rig(), DType::kFloat32, weight, c.offset);
    const RigValues rstd(rig(), DType::kFloat32, c.rows);
    const RigValues normed(rig(), c.dtype, c.rows * c.width, 2 * c.offset), again(rig(), c.dtype, c.rows * c.width);
    kernels().rms_norm(c.dtype, {c.rows, c.width, kEps, x_in.data(), weight_in.floats(), normed.data(), rstd.floats()});
    expect_within(DType::kFloat32, rstd.values(), exact_rstd(c, x), "rstd");
    expect_same_bits(normed.values(), normed_by(c, x, rstd.values(), weight), "normed");
    kernels().rms_norm(c.dtype, {c.rows, c.width, kEps, x_in.data(), weight_in.floats(), again.data(), nullptr});
    expect_same_bits(again.values(), normed.values(), "normed, without rstd");
  }
}

// Which of the optional operands a call has.
struct Wanted {
  bool d_skip, d_x, normed, weight_gradient, accumulate, in_place;
};
constexpr Wanted kWanted[] = {{true, true, true, true, true, false},    {false, true, true, true, false, false},
                              {true, true, false, false, false, false}, {false, false, true, true, false, false},
                              {false, true, false, true, true, true},   {true, false, false, true, false, false}};

struct NormGradients {
  std::vector<Expected> d_x, weight;
};

NormGradients exact_gradients(const NormCase& c, const Wanted& wanted, const std::vector<float>& x,
                              const std::vector<float>& rstd, const std::vector<float>& weight,
                              const std::vector<float>& d, const std::vector<float>& skip,
                              const std::vector<float>& start) {
  NormGradients exact;
  for (const float value : start) exact.weight.push_back({wanted.accumulate ? value : 0.0, 0});
  for (size_t row = 0; row < static_cast<size_t>(c.rows); ++row) {
    const size_t first = row * static_cast<size_t>(c.width);
    double products = 0, magnitude = 0;
    for (size_t i = 0; i < weight.size(); ++i) {
      const double product = double{d[first + i]} * weight[i] * x[first + i] * rstd[row];
      products += product;
      magnitude += std::abs(product);
      const double of_weight = double{d[first + i]} * scaled(c.dtype, x[first + i], rstd[row]);
      exact.weight[i].value += of_weight;
      exact.weight[i].error += kSumError * std::abs(of_weight);
    }
    const double mean = products / static_cast<double>(c.width);
    for (size_t i = 0; i < weight.size(); ++i) {
      const double direct = double{d[first + i]} * weight[i] * rstd[row];
      const double along = double{x[first + i]} * rstd[row] * rstd[row];
      const double skipped = wanted.d_skip ? skip[first + i] : 0.0f;
      const double scale =
          std::abs(direct) + std::abs(skipped) + std::abs(along) * magnitude / static_cast<double>(c.width);
      exact.d_x.push_back({skipped + direct - along * mean, kSumError * scale});
    }
  }
  for (size_t i = 0; i < start.size(); ++i) exact.weight[i].error += kSumError * std::abs(start[i]);
  return exact;
}

void check_backward(KernelRig& rig, const NormCase& c, const Wanted& wanted) {
  const std::vector<float> x = random_floats(c.dtype, c.rows * c.width, 7), weight = weights_of(c.width);
  const std::vector<float> d = random_floats(c.dtype, c.rows * c.width, 8);
  const std::vector<float> skip = random_floats(c.dtype, c.rows * c.width, 10);
  const std::vector<float> start = random_floats(DType::kFloat32, c.width, 11);
  std::vector<float> rstd;
  for (const Expected& value : exact_rstd(c, x)) rstd.push_back(static_cast<float>(value.value));

  const RigValues x_in(rig, c.dtype, x, c.offset), d_in(rig, c.dtype, d), skip_in(rig, c.dtype, skip, c.offset);
  const RigValues weight_in(rig, DType::kFloat32, weight), rstd_in(rig, DType::kFloat32, rstd);
  const RigValues d_x(rig, c.dtype, c.rows * c.width), normed(rig, c.dtype, c.rows * c.width, c.offset);
  const RigValues partials(rig, DType::kFloat32, kernel_norm_partials(c.rows, c.width));
  const RigValues gradient(rig, DType::kFloat32, start);
  const RigValues& d_x_out = wanted.in_place ? d_in : d_x;
  rig.kernels().rms_norm_backward(c.dtype,
                                  {c.rows, c.width, x_in.data(), weight_in.floats(), rstd_in.floats(), d_in.data(),
                                   wanted.d_skip ? skip_in.data() : nullptr, wanted.d_x ? d_x_out.data() : nullptr,
                                   wanted.normed ? normed.data() : nullptr, partials.floats(),
                                   wanted.weight_gradient ? gradient.floats() : nullptr, wanted.accumulate});
  const NormGradients exact = exact_gradients(c, wanted, x, rstd, weight, d, skip, start);
  if (wanted.d_x) expect_within(c.dtype, d_x_out.values(), exact.d_x, "d_x");
  if (wanted.normed) expect_same_bits(normed.values(), normed_by(c, x, rstd, weight), "normed");
  if (wanted.weight_gradient)
    expect_within(DType::kFloat32, gradient.values(), exact.weight, "weight gradient");
  else
    expect_same_bits(gradient.values(), start, "weight gradient that is not wanted");
}

TEST_P(KernelSuite, RmsNormBackward) {
  size_t turn = 0;
  for (const NormCase& c : norm_cases()) {
    for (const Wanted& wanted : kWanted) {
      if (c.width > 300 && turn++ % 3 != 0) continue;  // wide rows: every combination once, over the widths
      SCOPED_TRACE(testing::Message() << c << " combination " << &wanted - kWanted);
      check_backward(rig(), c, wanted);
    }
  }
}

}  // namespace
}  // namespace penstock
