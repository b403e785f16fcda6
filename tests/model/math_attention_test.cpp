// The plain formula against autograd in double, against the host's flash kernels, and inside its memory bound.
#include "decoder_run.h"

#include <c10/core/InferenceMode.h>

#include "attention_cases.h"
#include "model/math_attention.h"

namespace penstock {
namespace {

constexpr uint64_t kSeed = 20260119;

void run_both_ways(AttentionBuffers& buffers) {
  const c10::InferenceMode no_autograd;
  const std::span<const int32_t> starts = buffers.batch.starts;
  math_attention(buffers.shape, starts, buffers.qkv.span().data(), buffers.attended.span().data(), buffers.sums(),
                 c10::kCPU);
  math_attention_backward(buffers.shape, starts, buffers.qkv.span().data(), buffers.attended.span().data(),
                          buffers.sums(), buffers.d_attended.span().data(), buffers.d_qkv.span().data(), c10::kCPU);
}

std::vector<AttentionCase> all_cases() {
  std::vector<AttentionCase> cases = attention_cases();
  cases.push_back({"odd_heads", 6, 2, 10, 5, 2, 23, {9, 30}});
  return cases;
}

class MathAttention : public testing::TestWithParam<AttentionCase> {};

TEST_P(MathAttention, EqualsAutograd) {
  AttentionBuffers buffers(GetParam(), DType::kFloat32, kSeed);
  run_both_ways(buffers);
  buffers.expect_reference(2e-6, 5e-6);
}

TEST_P(MathAttention, RoundsOnlyResultsInBf16) {
  AttentionBuffers buffers(GetParam(), DType::kBFloat16, kSeed);
  run_both_ways(buffers);
  buffers.expect_reference(3e-3, 8e-3);
}

TEST_P(MathAttention, EqualsTheHostsKernels) {
  AttentionBuffers buffers(GetParam(), DType::kFloat32, kSeed), host(GetParam(), DType::kFloat32, kSeed);
  run_both_ways(buffers);
  const c10::InferenceMode no_autograd;
  attention(host.shape, host.view(), host.qkv.span().data(), host.attended.span().data(), host.sums());
  for (size_t i = 0; i < host.logsumexp.as<float>().size(); ++i) {
    ASSERT_NEAR(buffers.sums()[i], host.sums()[i], 1e-5) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, MathAttention, testing::ValuesIn(all_cases()),
                         [](const auto& tested) { return tested.param.name; });

// Long enough for several chunks of queries, with and without a window, beside a short segment.
TEST(MathAttentionChunks, ChangeNothing) {
  for (const int64_t window : {int64_t{0}, int64_t{900}}) {
    const AttentionCase c = {"long", 8, 4, 8, window, 1, 1600, {37}};
    AttentionBuffers buffers(c, DType::kFloat32, kSeed), host(c, DType::kFloat32, kSeed);
    ASSERT_GT(c.heads * c.length * (window > 0 ? 2 * window : c.length), kScoreElements) << "the case is too small";
    run_both_ways(buffers);
    const c10::InferenceMode no_autograd;
    attention(host.shape, host.view(), host.qkv.span().data(), host.attended.span().data(), host.sums());
    attention_backward(host.shape, host.view(), host.qkv.span().data(), host.attended.span().data(), host.sums(),
                       host.d_attended.span().data(), host.d_qkv.span().data());
    const auto values = [&](GuardedBytes& bytes, int64_t width) {
      return values_of(bytes, DType::kFloat32, {c.length, width});
    };
    EXPECT_LE(relative_error(values(buffers.attended, host.shape.query_width()),
                             values(host.attended, host.shape.query_width())),
              1e-5);
    EXPECT_LE(
        relative_error(values(buffers.d_qkv, host.shape.packed_width()), values(host.d_qkv, host.shape.packed_width())),
        1e-5);
  }
}

TEST(MathAttentionMemory, StaysInsideItsBound) {
  install_counting_allocator();
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const int64_t window : {int64_t{0}, int64_t{300}}) {
      const AttentionCase c = {"memory", 8, 2, 16, window, 1, 1500, {}};
      AttentionBuffers buffers(c, dtype, kSeed);
      PeakObserver observer;
      {
        const TemporaryObservation observation(observer);
        run_both_ways(buffers);
      }
      EXPECT_EQ(observer.now(), 0);
      const auto bound = static_cast<int64_t>(math_attention_temporary_bytes(buffers.shape, c.length));
      EXPECT_LE(observer.peak(), bound) << dtype_name(dtype) << " window " << window;
      EXPECT_GT(observer.peak(), bound / 2) << dtype_name(dtype) << " window " << window;
    }
  }
}

// Decoding the last token of every row equals the last row of attention over all of it.
TEST(MathAttentionCache, EqualsTheLastQueryOfTheWhole) {
  for (const int64_t window : {int64_t{0}, int64_t{4}}) {
    const AttentionShape shape = {DType::kFloat32, 6, 2, 10, window};
    const std::vector<int32_t> lengths = {0, 3, 11};
    const int64_t rows = 3, capacity = 12;
    GuardedBytes qkv = planned(random_tensor(kSeed, 3, {rows, shape.packed_width()}, 1.0), DType::kFloat32);
    GuardedBytes keys = planned(random_tensor(kSeed, 4, {rows, capacity, shape.kv_width()}, 1.0), DType::kFloat32);
    GuardedBytes values = planned(random_tensor(kSeed, 5, {rows, capacity, shape.kv_width()}, 1.0), DType::kFloat32);
    GuardedBytes attended(static_cast<uint64_t>(rows * shape.query_width()) * sizeof(float));
    const AttentionCache cache = {keys.span().data(), values.span().data(), rows, capacity, lengths};
    {
      const c10::InferenceMode no_autograd;
      math_cached_attention(shape, qkv.span().data(), attended.span().data(), cache, c10::kCPU);
    }
    const at::Tensor queries = values_of(qkv, DType::kFloat32, {rows, shape.packed_width()});
    const at::Tensor all_keys = values_of(keys, DType::kFloat32, {rows, capacity, shape.kv_width()});
    const at::Tensor all_values = values_of(values, DType::kFloat32, {rows, capacity, shape.kv_width()});
    for (int64_t row = 0; row < rows; ++row) {
      const int32_t count = lengths[static_cast<size_t>(row)] + 1;
      const at::Tensor query = queries[row].narrow(0, 0, shape.query_width()).expand({count, -1});
      const at::Tensor whole =
          at::cat({query, all_keys[row].narrow(0, 0, count), all_values[row].narrow(0, 0, count)}, 1);
      const at::Tensor expected = reference_attention(shape, {0, count}, whole)[count - 1];
      EXPECT_LE(relative_error(values_of(attended, DType::kFloat32, {rows, shape.query_width()})[row], expected), 2e-6)
          << "row " << row << " window " << window;
    }
  }
}

}  // namespace
}  // namespace penstock
