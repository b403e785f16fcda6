// GEMMs and attention on a card against autograd in double; LibTorch's memory inside what was reserved.
#include "card.h"

#include <ATen/ops/empty.h>

#include "../model/attention_cases.h"
#include "../model/expect_error.h"
#include "gpu_test.h"
#include "model/math_attention.h"

namespace penstock {
namespace {

constexpr uint64_t kSeed = 20260122;

// The buffers' operands on the card, and the results back in them.
void attend_on_card(Card& card, AttentionBuffers& buffers) {
  CardMemory memory(card.stream());
  BatchView view = buffers.view();
  const auto starts = memory.placed(std::as_bytes(std::span(buffers.batch.starts)));
  view.device = {nullptr, nullptr, reinterpret_cast<const int32_t*>(starts.data())};
  const auto qkv = memory.placed(buffers.qkv.span()), d_attended = memory.placed(buffers.d_attended.span());
  const auto attended = memory.take(buffers.attended.span().size()), d_qkv = memory.take(buffers.d_qkv.span().size());
  const auto sums = memory.take(buffers.logsumexp.span().size());
  auto* logsumexp = reinterpret_cast<float*>(sums.data());
  card.maths().run([&] {
    card.maths().attention(buffers.shape, view, qkv.data(), attended.data(), logsumexp);
    card.maths().attention_backward(buffers.shape, view, qkv.data(), attended.data(), logsumexp, d_attended.data(),
                                    d_qkv.data());
  });
  memory.read(buffers.attended.span(), attended);
  memory.read(buffers.d_qkv.span(), d_qkv);
  memory.read(buffers.logsumexp.span(), sums);
}

class GpuAttention : public testing::TestWithParam<AttentionCase> {};

// The kernels round probabilities to bf16 before they multiply values.
TEST_P(GpuAttention, FlashEqualsAutograd) {
  PENSTOCK_REQUIRE_GPU();
  Card card;
  AttentionBuffers buffers(GetParam(), DType::kBFloat16, kSeed);
  attend_on_card(card, buffers);
  buffers.expect_reference(6e-3, 1.5e-2);
}

TEST_P(GpuAttention, PlainFormulaEqualsAutograd) {
  PENSTOCK_REQUIRE_GPU();
  Card card;
  AttentionBuffers buffers(GetParam(), DType::kFloat32, kSeed);
  attend_on_card(card, buffers);
  buffers.expect_reference(5e-6, 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Cases, GpuAttention, testing::ValuesIn(attention_cases()),
                         [](const auto& tested) { return tested.param.name; });

// Long rows of real head sizes, where double on the host would take minutes: flash against the plain formula.
TEST(GpuLongAttention, FlashEqualsThePlainFormula) {
  PENSTOCK_REQUIRE_GPU();
  Card card;
  for (const int64_t window : {int64_t{0}, int64_t{300}}) {
    AttentionBuffers buffers({"long", 16, 4, 128, window, 2, 1500, {700, 701, 1900}}, DType::kBFloat16, kSeed);
    attend_on_card(card, buffers);
    CardMemory memory(card.stream());
    const auto qkv = memory.placed(buffers.qkv.span()), d_attended = memory.placed(buffers.d_attended.span());
    const auto attended = memory.take(buffers.attended.span().size()), d_qkv = memory.take(buffers.d_qkv.span().size());
    const auto sums = memory.take(buffers.logsumexp.span().size());
    auto* logsumexp = reinterpret_cast<float*>(sums.data());
    card.maths().run([&] {
      math_attention(buffers.shape, buffers.batch.starts, qkv.data(), attended.data(), logsumexp, card.device());
      math_attention_backward(buffers.shape, buffers.batch.starts, qkv.data(), attended.data(), logsumexp,
                              d_attended.data(), d_qkv.data(), card.device());
    });
    GuardedBytes expected(attended.size()), expected_gradient(d_qkv.size());
    memory.read(expected.span(), attended);
    memory.read(expected_gradient.span(), d_qkv);
    const auto values = [&](GuardedBytes& bytes, int64_t width) {
      return values_of(bytes, DType::kBFloat16, {buffers.tokens, width});
    };
    const int64_t query_width = buffers.shape.query_width(), packed_width = buffers.shape.packed_width();
    EXPECT_LE(relative_error(values(buffers.attended, query_width), values(expected, query_width)), 6e-3);
    EXPECT_LE(relative_error(values(buffers.d_qkv, packed_width), values(expected_gradient, packed_width)), 1.5e-2);
  }
}

// Nothing is rounded between micro-batches, and fp32 is not TF32.
TEST(GpuProducts, WeightGradientsSumInFp32) {
  PENSTOCK_REQUIRE_GPU();
  Card card;
  const int64_t n = 257, k = 96, m = 40;
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    CardMemory memory(card.stream());
    GuardedBytes x = planned(random_tensor(kSeed, 1, {n, k}, 1.0), dtype);
    GuardedBytes d_y = planned(random_tensor(kSeed, 2, {n, m}, 1.0), dtype);
    const auto x_there = memory.placed(x.span()), d_y_there = memory.placed(d_y.span());
    const auto d_w = memory.take(static_cast<uint64_t>(m * k) * sizeof(float));
    const at::Tensor gradient = at::mm(values_of(d_y, dtype, {n, m}).t(), values_of(x, dtype, {n, k}));
    for (int micro_batch = 0; micro_batch < 3; ++micro_batch) {
      card.maths().run([&] {
        card.maths().linear_weight_gradient(dtype, {d_y_there.data(), n, m}, {x_there.data(), n, k}, micro_batch > 0,
                                            {d_w.data(), m, k});
      });
      GuardedBytes sum(d_w.size());
      memory.read(sum.span(), d_w);
      EXPECT_LE(relative_error(values_of(sum, DType::kFloat32, {m, k}), gradient * (micro_batch + 1)), 2e-6);
    }
  }
}

TEST(GpuProducts, RoundOnce) {
  PENSTOCK_REQUIRE_GPU();
  Card card;
  const int64_t n = 65, k = 96, m = 40;
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    const double tolerance = dtype == DType::kFloat32 ? 2e-6 : 3e-3;
    CardMemory memory(card.stream());
    GuardedBytes x = planned(random_tensor(kSeed, 1, {n, k}, 1.0), dtype);
    GuardedBytes w = planned(random_tensor(kSeed, 2, {m, k}, 1.0), dtype);
    GuardedBytes bias = planned(random_tensor(kSeed, 3, {m}, 1.0), dtype);
    GuardedBytes residual = planned(random_tensor(kSeed, 4, {n, m}, 1.0), dtype);
    const MatrixView x_view = {memory.placed(x.span()).data(), n, k}, w_view = {memory.placed(w.span()).data(), m, k};
    const MatrixView residual_view = {memory.placed(residual.span()).data(), n, m};
    const auto bias_there = memory.placed(bias.span()), y = memory.take(residual.span().size());
    const MatrixView y_view = {y.data(), n, m};
    const at::Tensor product = at::mm(values_of(x, dtype, {n, k}), values_of(w, dtype, {m, k}).t());
    const auto expect_y = [&](const at::Tensor& expected, const std::function<void()>& call) {
      card.maths().run(call);
      GuardedBytes actual(y.size());
      memory.read(actual.span(), y);
      EXPECT_LE(relative_error(values_of(actual, dtype, {n, m}), expected), tolerance);
    };
    expect_y(product, [&] { card.maths().linear(dtype, x_view, w_view, y_view); });
    expect_y(product + values_of(residual, dtype, {n, m}),
             [&] { card.maths().linear_add(dtype, residual_view, x_view, w_view, y_view); });
    expect_y(product + values_of(bias, dtype, {m}),
             [&] { card.maths().linear_bias(dtype, x_view, w_view, bias_there.data(), y_view); });
  }
}

// Steps over batches packed in ever new ways stay inside the one segment, and never wait for memory.
TEST(GpuTemporaries, StayInsideWhatWasReserved) {
  PENSTOCK_REQUIRE_GPU();
  Card card({.deterministic = true});
  const AttentionCase whole = {"whole", 8, 2, 64, 0, 4, 256, {}};
  const uint64_t planned_bytes = cuda_attention_temporary_bytes(whole.shape(DType::kBFloat16), 4, 256);
  reserve_cuda_temporaries(card.stream(), 0, planned_bytes);
  const CudaTemporaryUse before = cuda_temporary_use(0);
  EXPECT_GT(before.reserved_bytes, planned_bytes / 2);
  for (int32_t cuts = 0; cuts < 40; cuts += 3) {
    AttentionCase packed = whole;
    for (int32_t i = 0; i < cuts; ++i) packed.cuts.push_back(7 + i * 25);
    AttentionBuffers buffers(packed, DType::kBFloat16, kSeed);
    attend_on_card(card, buffers);
  }
  const CudaTemporaryUse after = cuda_temporary_use(0);
  EXPECT_EQ(after.reserved_peak_bytes, before.reserved_bytes);
  EXPECT_EQ(after.stalls, 0);
  EXPECT_EQ(after.live_bytes, before.live_bytes) << "a call left memory behind";
  expect_error(ExitCode::kDoesNotFit, {"per_device_train_batch_size"}, [&] {
    const auto too_much = static_cast<int64_t>(planned_bytes + kGiB);
    card.maths().run([&] { at::empty({too_much}, at::TensorOptions(at::kByte).device(card.device())); });
  });
}

}  // namespace
}  // namespace penstock
