// Windowed attention's own memory: linear in the length, and inside the planned bound.
#include "decoder_run.h"

#include "model/attention.h"

namespace penstock {
namespace {

constexpr uint64_t kSeed = 20240617;

// The most that one backward (and its forward) of `rows` rows takes beside its operands.
int64_t peak_bytes(const AttentionShape& shape, int64_t rows, int64_t length) {
  install_counting_allocator();
  set_compute_threads(2);
  const DecoderCase c = {"attention", 8, 8, 8, shape.query_heads, shape.kv_heads, shape.head_dim, rows, length, {}};
  const TestBatch batch(c, kSeed);
  const int64_t tokens = rows * length;
  GuardedBytes qkv = planned(random_tensor(kSeed, 1, {tokens, shape.packed_width()}, 1.0), shape.dtype);
  GuardedBytes attended = planned(at::zeros({tokens, shape.query_width()}), shape.dtype);
  GuardedBytes d_attended = planned(random_tensor(kSeed, 2, {tokens, shape.query_width()}, 1.0), shape.dtype);
  GuardedBytes d_qkv = planned(at::zeros({tokens, shape.packed_width()}), shape.dtype);
  GuardedBytes logsumexp(static_cast<uint64_t>(tokens * shape.query_heads) * sizeof(float));
  PeakObserver observer;
  {
    const c10::InferenceMode no_autograd;
    const TemporaryObservation observation(observer);
    float* sums = logsumexp.as<float>().data();
    attention(shape, batch.view(), qkv.span().data(), attended.span().data(), sums);
    attention_backward(shape, batch.view(), qkv.span().data(), attended.span().data(), sums, d_attended.span().data(),
                       d_qkv.span().data());
  }
  EXPECT_EQ(observer.now(), 0);
  return observer.peak();
}

// Many rows a little longer than the window are one call, whose results and sums are as large as they can get.
TEST(WindowedAttention, TemporariesStayInsideTheirBound) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    const AttentionShape shape = {dtype, 8, 8, 64, 100};
    const int64_t peak = peak_bytes(shape, 40, 101);
    EXPECT_LE(peak, static_cast<int64_t>(attention_temporary_bytes(shape, 40, 101, 2)));
    const AttentionShape unbounded = {dtype, 8, 8, 64};
    EXPECT_GT(peak, static_cast<int64_t>(attention_temporary_bytes(unbounded, 40, 101, 2))) << "the case is too small";
  }
}

TEST(WindowedAttention, MemoryGrowsNoFasterThanTheLength) {
  const AttentionShape shape = {DType::kFloat32, 2, 1, 16, 64};
  const int64_t once = peak_bytes(shape, 1, 2000), twice = peak_bytes(shape, 1, 4000);
  EXPECT_LE(twice, 2 * once);
}

}  // namespace
}  // namespace penstock
