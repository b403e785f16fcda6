// Attention over packed rows: cases, buffers, and the oracle (the plain formula in double, gradients by autograd).
#pragma once

#include "reference_decoder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "decoder_cases.h"
#include "guarded_bytes.h"
#include "model/attention.h"

namespace penstock {

struct AttentionCase {
  std::string name;
  int64_t heads, kv_heads, head_dim, window, rows, length;
  std::vector<int32_t> cuts;  // inner segment borders beside the rows' own

  AttentionShape shape(DType dtype) const { return {dtype, heads, kv_heads, head_dim, window}; }
  DecoderCase batch_case() const { return {name, 8, 8, 8, heads, kv_heads, head_dim, rows, length, cuts}; }
};
inline void PrintTo(const AttentionCase& c, std::ostream* out) { *out << c.name; }

inline std::vector<int32_t> every_second_token(int32_t tokens) {
  std::vector<int32_t> cuts;
  for (int32_t token = 2; token < tokens; token += 2) cuts.push_back(token);
  return cuts;
}

// Head sizes that flash attention takes on CUDA.
inline const std::vector<AttentionCase>& attention_cases() {
  static const std::vector<AttentionCase> cases = {
      {"one_segment", 2, 2, 16, 0, 1, 37, {}},
      {"grouped", 6, 2, 8, 0, 2, 21, {}},
      {"packed", 4, 1, 24, 0, 3, 40, {1, 2, 17, 40, 41, 79, 100}},
      {"window", 4, 2, 16, 7, 2, 50, {13, 14, 50, 80}},
      {"window_of_one", 2, 1, 8, 1, 1, 9, {4}},
      {"window_of_two", 2, 1, 8, 2, 1, 19, {5}},
      {"window_of_all", 2, 1, 8, 30, 1, 30, {}},
      {"one_token", 4, 2, 8, 0, 1, 1, {}},
      {"single_tokens", 4, 2, 8, 0, 5, 1, {}},
      {"many_short_segments", 2, 1, 8, 0, 2, 60, every_second_token(120)},
      {"wide_heads", 2, 1, 160, 0, 1, 33, {20}},
  };
  return cases;
}

// Scores in double; hidden keys at -inf.
inline at::Tensor reference_attention(const AttentionShape& shape, const std::vector<int32_t>& starts,
                                      const at::Tensor& qkv) {
  const int64_t group = shape.query_heads / shape.kv_heads, head_dim = shape.head_dim;
  std::vector<at::Tensor> parts;
  for (size_t i = 0; i + 1 < starts.size(); ++i) {
    const int64_t count = starts[i + 1] - starts[i];
    const at::Tensor rows = qkv.narrow(0, starts[i], count);
    const auto heads = [&](int64_t column, int64_t number) {
      return rows.narrow(1, column, number * head_dim).reshape({count, number, head_dim}).transpose(0, 1);
    };
    const at::Tensor query = heads(0, shape.query_heads);
    const at::Tensor key = heads(shape.query_width(), shape.kv_heads).repeat_interleave(group, 0);
    const at::Tensor value = heads(shape.query_width() + shape.kv_width(), shape.kv_heads).repeat_interleave(group, 0);
    const at::Tensor distance = at::arange(count).unsqueeze(1) - at::arange(count).unsqueeze(0);
    at::Tensor hidden = distance < 0;
    if (shape.window > 0) hidden = hidden.logical_or(distance >= shape.window);
    const at::Tensor scores = at::matmul(query, key.transpose(1, 2)) / std::sqrt(static_cast<double>(head_dim));
    const at::Tensor weights = scores.masked_fill(hidden, -std::numeric_limits<double>::infinity()).softmax(-1);
    parts.push_back(at::matmul(weights, value).transpose(0, 1).reshape({count, shape.query_width()}));
  }
  return at::cat(parts, 0);
}

// One micro-batch's operands and results in planned bytes, and what they should be.
struct AttentionBuffers {
  AttentionBuffers(const AttentionCase& c, DType dtype, uint64_t seed)
      : shape(c.shape(dtype)),
        batch(c.batch_case(), seed),
        tokens(c.rows * c.length),
        qkv(planned(random_tensor(seed, 1, {tokens, shape.packed_width()}, 1.0), dtype)),
        attended(bytes_of(shape.query_width())),
        d_attended(planned(random_tensor(seed, 2, {tokens, shape.query_width()}, 1.0), dtype)),
        d_qkv(bytes_of(shape.packed_width())),
        logsumexp(static_cast<uint64_t>(tokens * shape.query_heads) * sizeof(float)) {}

  BatchView view() const { return in_host_memory(batch.view()); }
  float* sums() { return logsumexp.as<float>().data(); }

  void expect_reference(double tolerance, double gradient_tolerance) {
    const at::Tensor leaf = values_of(qkv, shape.dtype, {tokens, shape.packed_width()}).requires_grad_();
    const at::Tensor expected = reference_attention(shape, batch.starts, leaf);
    expected.backward(values_of(d_attended, shape.dtype, {tokens, shape.query_width()}));
    EXPECT_LE(relative_error(values_of(attended, shape.dtype, {tokens, shape.query_width()}), expected), tolerance);
    const at::Tensor gradient = values_of(d_qkv, shape.dtype, {tokens, shape.packed_width()});
    int64_t column = 0;
    for (const int64_t width : {shape.query_width(), shape.kv_width(), shape.kv_width()}) {
      // A query that sees its own key only has a gradient of zero, up to rounding of what cancels.
      const at::Tensor actual = gradient.narrow(1, column, width), wanted = leaf.grad().narrow(1, column, width);
      const double error = (actual - wanted).norm().item<double>();
      EXPECT_LE(error, gradient_tolerance * leaf.grad().norm().item<double>()) << "columns from " << column;
      column += width;
    }
  }

  AttentionShape shape;
  TestBatch batch;
  int64_t tokens;
  GuardedBytes qkv, attended, d_attended, d_qkv, logsumexp;

 private:
  GuardedBytes bytes_of(int64_t width) const {
    return GuardedBytes(static_cast<uint64_t>(tokens * width) * dtype_bytes(shape.dtype));
  }
};

}  // namespace penstock
