#include "model/emulated_aten_ops.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mm.h>
#include <torch/library.h>

#include <cmath>
#include <limits>
#include <optional>
#include <tuple>

namespace penstock {

namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// --- addmm.dtype_out, mm.dtype_out: the checks of _addmm_dtype_out_cuda and _mm_dtype_out_cuda

void check_product(const Tensor& a, const Tensor& b, at::ScalarType out_type, const Tensor& out) {
  TORCH_CHECK(a.dim() == 2 && b.dim() == 2 && a.size(1) == b.size(0), "operands do not multiply");
  TORCH_CHECK(a.scalar_type() == b.scalar_type(), "operands are of two types");
  TORCH_CHECK(a.scalar_type() == at::kBFloat16 && out_type == at::kFloat, "only bf16 into fp32 is emulated");
  TORCH_CHECK(out.scalar_type() == out_type, "out is not of out_dtype");
  TORCH_CHECK(out.is_contiguous() && out.size(0) == a.size(0) && out.size(1) == b.size(1), "out would be resized");
}

Tensor& product_out(const Tensor& a, const Tensor& b, at::ScalarType out_type, Tensor& out) {
  check_product(a, b, out_type, out);
  return at::mm_out(out, a.to(at::kFloat), b.to(at::kFloat));
}

Tensor& sum_of_products_out(const Tensor& self, const Tensor& a, const Tensor& b, at::ScalarType out_type,
                            const at::Scalar& beta, const at::Scalar& alpha, Tensor& out) {
  check_product(a, b, out_type, out);
  TORCH_CHECK(out.is_same(self), "self would be copied into out");
  return out.mul_(beta).add_(at::mm(a.to(at::kFloat), b.to(at::kFloat)), alpha);
}

// --- _flash_attention_forward, _flash_attention_backward

// What the kernels read 16 bytes at a time.
void check_operand(const Tensor& tensor, int64_t head_dim) {
  TORCH_CHECK(tensor.scalar_type() == at::kBFloat16, "flash attention takes bf16");
  TORCH_CHECK(tensor.dim() >= 3 && tensor.size(-1) == head_dim && tensor.stride(-1) == 1, "not [tokens, heads, dim]");
  TORCH_CHECK(head_dim % 8 == 0 && head_dim <= 256, "heads of ", head_dim);
  TORCH_CHECK(reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) % 16 == 0, "not on a 16-byte border");
  TORCH_CHECK(tensor.stride(-2) % 8 == 0 && tensor.stride(-3) % 8 == 0, "strides break 16-byte borders");
}

void check_operands(const Tensor& query, const Tensor& key, const Tensor& value) {
  check_operand(query, query.size(-1));
  check_operand(key, query.size(-1));
  check_operand(value, query.size(-1));
  TORCH_CHECK(key.sizes() == value.sizes() && query.size(-2) % key.size(-2) == 0, "heads do not divide");
}

struct Sight {
  bool causal;
  std::optional<int64_t> left;
};

// One segment, heads first, in fp32; keys and values repeated for every query head.
struct Segment {
  Tensor query, key, value;  // [H, T, D]
  int64_t group;
};

Tensor heads_first(const Tensor& rows, int64_t first, int64_t count) {
  return rows.narrow(0, first, count).to(at::kFloat).transpose(0, 1);
}

Segment segment_of(const Tensor& query, const Tensor& key, const Tensor& value, int64_t first, int64_t count) {
  const int64_t group = query.size(1) / key.size(1);
  return {heads_first(query, first, count), heads_first(key, first, count).repeat_interleave(group, 0),
          heads_first(value, first, count).repeat_interleave(group, 0), group};
}

double scale_of(const Tensor& query) { return 1 / std::sqrt(static_cast<double>(query.size(-1))); }

Tensor scores_of(const Segment& segment, const Sight& sight) {
  Tensor scores = at::matmul(segment.query, segment.key.transpose(1, 2)) * scale_of(segment.query);
  const Tensor queries = at::arange(scores.size(1)).unsqueeze(1), keys = at::arange(scores.size(2)).unsqueeze(0);
  if (sight.causal) scores.masked_fill_(keys.gt(queries), -kInfinity);
  if (sight.left) scores.masked_fill_(keys.lt(queries - *sight.left), -kInfinity);
  return scores;
}

void check_borders(const Tensor& starts, const Tensor& query, int64_t longest) {
  TORCH_CHECK(starts.scalar_type() == at::kInt && starts.dim() == 1 && starts.is_contiguous(), "borders are int32");
  const auto* border = starts.const_data_ptr<int32_t>();
  for (int64_t i = 0; i + 1 < starts.numel(); ++i) {
    TORCH_CHECK(border[i] <= border[i + 1] && border[i + 1] - border[i] <= longest, "a segment is longer than longest");
  }
  TORCH_CHECK(border[starts.numel() - 1] <= query.size(0), "segments leave the query");
  TORCH_CHECK(longest != 1, "queries would be regrouped as in decoding");
}

template <typename Visit>
void for_each_segment(const Tensor& starts, const Visit& visit) {
  const auto* border = starts.const_data_ptr<int32_t>();
  for (int64_t i = 0; i + 1 < starts.numel(); ++i) {
    if (border[i] < border[i + 1]) visit(int64_t{border[i]}, int64_t{border[i + 1]} - border[i]);
  }
}

using FlashResults = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

FlashResults flash_results(const Tensor& out, const Tensor& logsumexp) {
  const at::TensorOptions random = at::TensorOptions(at::kUInt64);
  return {out, logsumexp, at::empty({2}, random), at::empty({}, random), at::empty({0}, out.options())};
}

// The dense mode, for one query that sees all keys.
FlashResults one_query_forward(const Tensor& query, const Tensor& key, const Tensor& value, const Sight& sight) {
  TORCH_CHECK(query.dim() == 4 && query.size(0) == 1 && query.size(1) == 1, "only one query is emulated");
  const Tensor keys = key[0], values = value[0];
  const int64_t group = query.size(2) / keys.size(1), seen = keys.size(0);
  const Segment segment = {heads_first(query[0], 0, 1), heads_first(keys, 0, seen).repeat_interleave(group, 0),
                           heads_first(values, 0, seen).repeat_interleave(group, 0), group};
  TORCH_CHECK(!sight.causal && !sight.left, "one query sees all keys");
  const Tensor scores = scores_of(segment, sight);
  const Tensor out = at::matmul(scores.softmax(-1), segment.value).transpose(0, 1).unsqueeze(0);
  return flash_results(out.to(at::kBFloat16), at::logsumexp(scores, {-1}).unsqueeze(0));
}

FlashResults flash_forward(const Tensor& query, const Tensor& key, const Tensor& value, const OptionalTensor& starts_q,
                           const OptionalTensor& starts_k, int64_t longest_q, int64_t longest_k, double dropout,
                           bool causal, bool debug_mask, std::optional<double> scale, std::optional<int64_t> left,
                           std::optional<int64_t> right, const OptionalTensor& used, const OptionalTensor& slopes) {
  TORCH_CHECK(dropout == 0 && !debug_mask && !scale && !used && !slopes && !right, "not emulated");
  TORCH_CHECK(longest_q == longest_k || !starts_q, "queries and keys have the same segments");
  check_operands(query, key, value);
  const Sight sight = {causal, left};
  if (!starts_q) return one_query_forward(query, key, value, sight);
  TORCH_CHECK(starts_k && starts_k->is_same(*starts_q), "queries and keys have the same segments");
  check_borders(*starts_q, query, longest_q);
  const Tensor out = at::full_like(query, kInfinity, at::MemoryFormat::Contiguous);
  const Tensor logsumexp = at::empty({query.size(1), query.size(0)}, query.options().dtype(at::kFloat));
  for_each_segment(*starts_q, [&](int64_t first, int64_t count) {
    const Segment segment = segment_of(query, key, value, first, count);
    const Tensor scores = scores_of(segment, sight);
    out.narrow(0, first, count).copy_(at::matmul(scores.softmax(-1), segment.value).transpose(0, 1));
    logsumexp.narrow(1, first, count).copy_(at::logsumexp(scores, {-1}));
  });
  return flash_results(out, logsumexp);
}

std::tuple<Tensor, Tensor, Tensor> flash_backward(const Tensor& d_out, const Tensor& query, const Tensor& key,
                                                  const Tensor& value, const Tensor& out, const Tensor& logsumexp,
                                                  const Tensor& starts_q, const Tensor& starts_k, int64_t longest_q,
                                                  int64_t longest_k, double dropout, bool causal,
                                                  const Tensor& rng_state, const Tensor& unused,
                                                  std::optional<double> scale, std::optional<int64_t> left,
                                                  std::optional<int64_t> right) {
  TORCH_CHECK(dropout == 0 && !scale && !right && longest_q == longest_k && starts_k.is_same(starts_q), "not emulated");
  TORCH_CHECK(rng_state.defined() && unused.defined(), "forward's random state is missing");
  check_operands(query, key, value);
  check_borders(starts_q, query, longest_q);
  TORCH_CHECK(d_out.is_contiguous() && out.is_contiguous(), "d_out or out would be copied");
  TORCH_CHECK(logsumexp.is_contiguous() && logsumexp.sizes() == at::IntArrayRef({query.size(1), query.size(0)}),
              "logsumexp is not [heads, tokens]");
  const auto gradient_of = [](const Tensor& operand) {
    return at::full_like(operand, kInfinity, at::MemoryFormat::Contiguous);
  };
  const Tensor d_query = gradient_of(query), d_key = gradient_of(key), d_value = gradient_of(value);
  for_each_segment(starts_q, [&](int64_t first, int64_t count) {
    const Segment segment = segment_of(query, key, value, first, count);
    const Tensor d_segment = heads_first(d_out, first, count), out_segment = heads_first(out, first, count);
    const Tensor probabilities =
        (scores_of(segment, {causal, left}) - logsumexp.narrow(1, first, count).unsqueeze(-1)).exp();
    const Tensor delta = (d_segment * out_segment).sum(-1, /*keepdim=*/true);
    const Tensor d_scores =
        probabilities * (at::matmul(d_segment, segment.value.transpose(1, 2)) - delta) * scale_of(query);
    const auto grouped = [&](const Tensor& of_query_heads) {
      return of_query_heads.view({-1, segment.group, count, query.size(2)}).sum(1).transpose(0, 1);
    };
    d_query.narrow(0, first, count).copy_(at::matmul(d_scores, segment.key).transpose(0, 1));
    d_key.narrow(0, first, count).copy_(grouped(at::matmul(d_scores.transpose(1, 2), segment.query)));
    d_value.narrow(0, first, count).copy_(grouped(at::matmul(probabilities.transpose(1, 2), d_segment)));
  });
  return {d_query, d_key, d_value};
}

}  // namespace

void install_emulated_aten_ops() {
  // Never taken back: the dispatcher may go first at exit.
  [[maybe_unused]] static const torch::Library* library = [] {
    auto* ops = new torch::Library(torch::Library::IMPL, "aten", c10::DispatchKey::CPU, __FILE__, __LINE__);
    ops->impl("mm.dtype_out", &product_out);
    ops->impl("addmm.dtype_out", &sum_of_products_out);
    ops->impl("_flash_attention_forward", &flash_forward);
    ops->impl("_flash_attention_backward", &flash_backward);
    return ops;
  }();
}

}  // namespace penstock
