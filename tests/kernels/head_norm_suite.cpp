// RMSNorm of heads, forward and backward, in place in rows of packed q, k, v.
#include "kernel_checks.h"

namespace penstock {
namespace {

constexpr float kEps = 1e-6f;
constexpr double kSumError = 2e-6;  // as in norm_suite.cpp

struct HeadCase {
  DType dtype;
  HeadNormShape shape;
};

std::vector<HeadCase> head_cases() {
  std::vector<HeadCase> cases;
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const int64_t head_dim : {1, 3, 31, 33, 64, 127, 128, 256, 257, 512}) {
      const int64_t queries = head_dim % 2 == 0 ? 3 : 2;
      cases.push_back({dtype, {19, (queries + 3) * head_dim, queries, 1, head_dim}});
    }
    cases.push_back({dtype, {1, 4 * 16 + 1, 1, 2, 16}});
    cases.push_back({dtype, {40, 8 * 8, 2, 6, 8}});
  }
  return cases;
}

std::ostream& operator<<(std::ostream& out, const HeadCase& c) {
  return out << dtype_name(c.dtype) << " " << c.shape.rows << " rows, heads of " << c.shape.head_dim;
}

// The rows' heads without what lies between rows.
std::vector<float> heads_of(const HeadNormShape& shape, const std::vector<float>& rows) {
  std::vector<float> heads;
  for (int64_t row = 0; row < shape.rows; ++row) {
    const auto first = rows.begin() + row * shape.row_elements;
    heads.insert(heads.end(), first, first + shape.width());
  }
  return heads;
}

struct HeadInputs {
  explicit HeadInputs(const HeadCase& c)
      : values(random_floats(c.dtype, c.shape.rows * c.shape.row_elements, 20)),
        gradient(random_floats(c.dtype, c.shape.rows * c.shape.row_elements, 21)),
        raw(heads_of(c.shape, values)) {
    for (int64_t kind = 0; kind < 2; ++kind) {
      weights.push_back(random_floats(DType::kFloat32, c.shape.head_dim, 22 + static_cast<uint64_t>(kind)));
      starts.push_back(random_floats(DType::kFloat32, c.shape.head_dim, 24 + static_cast<uint64_t>(kind)));
    }
    const auto head_dim = static_cast<size_t>(c.shape.head_dim);
    for (size_t head = 0; head < raw.size() / head_dim; ++head) {
      double squares = 0;
      for (size_t i = 0; i < head_dim; ++i) squares += std::pow(double{raw[head * head_dim + i]}, 2);
      const double value = 1 / std::sqrt(squares / static_cast<double>(head_dim) + kEps);
      exact_rstd.push_back({value, kSumError * value});
      rstd.push_back(static_cast<float>(value));
    }
  }

  std::vector<float> values, gradient, raw, rstd;
  std::vector<std::vector<float>> weights, starts;  // of queries, of keys
  std::vector<Expected> exact_rstd;
};

size_t kind_of(const HeadNormShape& shape, size_t head) {
  return static_cast<int64_t>(head) % shape.heads() < shape.query_heads ? 0 : 1;
}

TEST_P(KernelSuite, HeadNorm) {
  for (const HeadCase& c : head_cases()) {
    SCOPED_TRACE(testing::Message() << c);
    const HeadInputs inputs(c);
    const RigValues values(rig(), c.dtype, inputs.values), raw(rig(), c.dtype, c.shape.rows * c.shape.width());
    const RigValues rstd(rig(), DType::kFloat32, c.shape.rows * c.shape.heads());
    const RigValues queries(rig(), DType::kFloat32, inputs.weights[0]), keys(rig(), DType::kFloat32, inputs.weights[1]);
    kernels().head_norm(c.dtype,
                        {c.shape, kEps, queries.floats(), keys.floats(), values.data(), raw.data(), rstd.floats()});
    expect_same_bits(raw.values(), inputs.raw, "raw");
    const std::vector<float> kernel_rstd = rstd.values();
    expect_within(DType::kFloat32, kernel_rstd, inputs.exact_rstd, "rstd");

    std::vector<float> expected = inputs.values;
    const auto head_dim = static_cast<size_t>(c.shape.head_dim);
    for (size_t i = 0; i < inputs.raw.size(); ++i) {
      const size_t head = i / head_dim, row = i / static_cast<size_t>(c.shape.width());
      const float scaled = as_stored(c.dtype, inputs.raw[i] * kernel_rstd[head]);
      expected[row * static_cast<size_t>(c.shape.row_elements) + i % static_cast<size_t>(c.shape.width())] =
          as_stored(c.dtype, scaled * inputs.weights[kind_of(c.shape, head)][i % head_dim]);
    }
    expect_same_bits(values.values(), expected, "normed");
  }
}

struct HeadGradients {
  std::vector<Expected> d_values;    // of the heads, packed
  std::vector<Expected> weights[2];  // of queries, of keys
};

HeadGradients exact_gradients(const HeadCase& c, const HeadInputs& inputs, bool accumulate) {
  HeadGradients exact;
  for (size_t kind = 0; kind < 2; ++kind) {
    for (const float start : inputs.starts[kind]) {
      exact.weights[kind].push_back({accumulate ? start : 0.0, accumulate ? kSumError * std::abs(start) : 0.0});
    }
  }
  const std::vector<float> gradient = heads_of(c.shape, inputs.gradient);
  const auto head_dim = static_cast<size_t>(c.shape.head_dim);
  for (size_t head = 0; head < inputs.rstd.size(); ++head) {
    const double rstd = inputs.rstd[head];
    const float *x = &inputs.raw[head * head_dim], *d = &gradient[head * head_dim];
    const std::vector<float>& weight = inputs.weights[kind_of(c.shape, head)];
    std::vector<Expected>& of_weight = exact.weights[kind_of(c.shape, head)];
    double products = 0, magnitude = 0;
    for (size_t i = 0; i < head_dim; ++i) {
      products += double{d[i]} * weight[i] * x[i] * rstd;
      magnitude += std::abs(double{d[i]} * weight[i] * x[i] * rstd);
      const double term = double{d[i]} * as_stored(c.dtype, x[i] * inputs.rstd[head]);
      of_weight[i].value += term;
      of_weight[i].error += kSumError * std::abs(term);
    }
    for (size_t i = 0; i < head_dim; ++i) {
      const double direct = double{d[i]} * weight[i] * rstd, along = x[i] * rstd * rstd;
      const double scale = std::abs(direct) + std::abs(along) * magnitude / static_cast<double>(head_dim);
      exact.d_values.push_back({direct - along * products / static_cast<double>(head_dim), kSumError * scale});
    }
  }
  return exact;
}

void check_backward(KernelRig& rig, const HeadCase& c, bool wants_queries, bool wants_keys, bool accumulate) {
  const HeadInputs inputs(c);
  const RigValues raw(rig, c.dtype, inputs.raw), rstd(rig, DType::kFloat32, inputs.rstd);
  const RigValues d_values(rig, c.dtype, inputs.gradient);
  const RigValues queries(rig, DType::kFloat32, inputs.weights[0]), keys(rig, DType::kFloat32, inputs.weights[1]);
  const RigValues partials(rig, DType::kFloat32, kernel_norm_partials(c.shape.rows, 2 * c.shape.head_dim));
  const RigValues of_queries(rig, DType::kFloat32, inputs.starts[0]), of_keys(rig, DType::kFloat32, inputs.starts[1]);
  rig.kernels().head_norm_backward(
      c.dtype, {c.shape, queries.floats(), keys.floats(), raw.data(), rstd.floats(), d_values.data(), partials.floats(),
                wants_queries ? of_queries.floats() : nullptr, wants_keys ? of_keys.floats() : nullptr, accumulate});

  const HeadGradients exact = exact_gradients(c, inputs, accumulate);
  const std::vector<float> all = d_values.values();
  expect_within(c.dtype, heads_of(c.shape, all), exact.d_values, "d_values");
  for (size_t i = 0; i < all.size(); ++i) {
    if (static_cast<int64_t>(i) % c.shape.row_elements < c.shape.width()) continue;
    ASSERT_EQ(all[i], inputs.gradient[i]) << "between the rows, " << i;
  }
  if (wants_queries)
    expect_within(DType::kFloat32, of_queries.values(), exact.weights[0], "query weight's gradient");
  else
    expect_same_bits(of_queries.values(), inputs.starts[0], "query weight's gradient, which is not wanted");
  if (wants_keys)
    expect_within(DType::kFloat32, of_keys.values(), exact.weights[1], "key weight's gradient");
  else
    expect_same_bits(of_keys.values(), inputs.starts[1], "key weight's gradient, which is not wanted");
}

TEST_P(KernelSuite, HeadNormBackward) {
  int turn = 0;
  for (const HeadCase& c : head_cases()) {
    SCOPED_TRACE(testing::Message() << c);
    check_backward(rig(), c, true, true, turn++ % 2 == 0);
    check_backward(rig(), c, turn % 3 == 0, turn % 3 == 1, true);  // one of the two, or none
  }
}

}  // namespace
}  // namespace penstock
