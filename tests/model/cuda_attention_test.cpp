// Attention as CudaMaths does it, without a card: over the emulated flash ops, which refuse what the CUDA kernels would
// not take. Against autograd in double, and decoding against the host.
#include "decoder_run.h"

#include "attention_cases.h"
#include "model/cuda/emulated_kernel_set.h"
#include "model/cuda_maths.h"
#include "model/flash_attention_cuda.h"

namespace penstock {
namespace {

constexpr uint64_t kSeed = 20260120;

CudaMaths emulated_maths() { return CudaMaths(c10::kCPU, nullptr, make_emulated_kernel_set(32)); }

GuardedBytes bytes_of(DType dtype, int64_t elements) {
  return GuardedBytes(static_cast<uint64_t>(elements) * dtype_bytes(dtype));
}
GuardedBytes values(uint64_t stream, DType dtype, int64_t elements) {
  return planned(random_tensor(kSeed, stream, {elements}, 1.0), dtype);
}

class CudaFlashAttention : public testing::TestWithParam<AttentionCase> {};

TEST_P(CudaFlashAttention, EqualsAutograd) {
  CudaMaths maths = emulated_maths();
  AttentionBuffers buffers(GetParam(), DType::kBFloat16, kSeed);
  ASSERT_TRUE(cuda_flash_takes(buffers.shape));
  maths.run([&] {
    maths.attention(buffers.shape, buffers.view(), buffers.qkv.span().data(), buffers.attended.span().data(),
                    buffers.sums());
    maths.attention_backward(buffers.shape, buffers.view(), buffers.qkv.span().data(), buffers.attended.span().data(),
                             buffers.sums(), buffers.d_attended.span().data(), buffers.d_qkv.span().data());
  });
  buffers.expect_reference(3e-3, 8e-3);
}

INSTANTIATE_TEST_SUITE_P(Cases, CudaFlashAttention, testing::ValuesIn(attention_cases()),
                         [](const auto& tested) { return tested.param.name; });

// The terms of the bound, by hand: 4,096 tokens of 32 heads of 128 over 8 key heads, and the same in one row.
TEST(CudaFlashMemory, CountsWhatBackwardTakes) {
  const AttentionShape shape = {DType::kBFloat16, 32, 8, 128};
  const uint64_t tokens = 4096, row = 32 * 128;
  const uint64_t gradients = tokens * 2 * (row + 2 * 8 * 128), expanded = 2 * tokens * 2 * row;
  const uint64_t row_dots = 32 * (tokens + 128 * 32) * 4;
  const uint64_t one_split = (tokens + 128 * 32) * row * 4;
  EXPECT_EQ(cuda_flash_temporary_bytes(shape, 8, 512, false), gradients + expanded + row_dots + one_split);
  // One segment of 32 heads on 192 multiprocessors: six splits.
  EXPECT_EQ(cuda_flash_temporary_bytes(shape, 8, 512, true),
            gradients + expanded + row_dots + 6 * (tokens + 128) * row * 4);
  EXPECT_GE(cuda_attention_temporary_bytes(shape, 8, 512),
            cuda_flash_temporary_bytes(shape, 8, 512, true) + 2 * kCublasWorkspaceBytes);
}

TEST(CudaFlashAttentionShapes, GoToThePlainFormulaWhereTheKernelsDoNotTakeThem) {
  EXPECT_TRUE(cuda_flash_takes({DType::kBFloat16, 2, 2, 256}));
  EXPECT_FALSE(cuda_flash_takes({DType::kFloat32, 2, 2, 64}));
  EXPECT_FALSE(cuda_flash_takes({DType::kBFloat16, 2, 2, 10}));
  EXPECT_FALSE(cuda_flash_takes({DType::kBFloat16, 2, 2, 264}));
  CudaMaths maths = emulated_maths();
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    AttentionBuffers buffers({"odd_heads", 6, 2, 10, 5, 2, 23, {9, 30}}, dtype, kSeed);
    maths.run([&] {
      maths.attention(buffers.shape, buffers.view(), buffers.qkv.span().data(), buffers.attended.span().data(),
                      buffers.sums());
      maths.attention_backward(buffers.shape, buffers.view(), buffers.qkv.span().data(), buffers.attended.span().data(),
                               buffers.sums(), buffers.d_attended.span().data(), buffers.d_qkv.span().data());
    });
    buffers.expect_reference(dtype == DType::kFloat32 ? 2e-6 : 3e-3, dtype == DType::kFloat32 ? 5e-6 : 8e-3);
  }
}

// What is appended to the cache, and one query against it.
TEST(CudaMathsCache, EqualsTheHosts) {
  HostMaths host(2);
  CudaMaths cuda = emulated_maths();
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const int64_t window : {int64_t{0}, int64_t{4}}) {
      const AttentionShape shape = {dtype, 6, 2, 16, window};
      const int64_t rows = 3, capacity = 12;
      const std::vector<int32_t> lengths = {0, 3, 11}, positions = lengths, starts = {0, 1, 2, 3};
      GuardedBytes qkv = values(1, dtype, rows * shape.packed_width());
      const int64_t cached = rows * capacity * shape.kv_width();
      const auto decode = [&](Maths& maths, GuardedBytes& keys, GuardedBytes& cache_values, GuardedBytes& attended) {
        const AttentionCache cache = {keys.span().data(), cache_values.span().data(), rows, capacity, lengths};
        maths.run([&] {
          maths.append_to_cache(shape, in_host_memory({rows, 1, positions, {}, starts}), qkv.span().data(), cache);
          maths.cached_attention(shape, qkv.span().data(), attended.span().data(), cache);
        });
      };
      GuardedBytes host_keys = values(2, dtype, cached), host_values = values(3, dtype, cached);
      GuardedBytes cuda_keys = values(2, dtype, cached), cuda_values = values(3, dtype, cached);
      GuardedBytes host_out = bytes_of(dtype, rows * shape.query_width());
      GuardedBytes cuda_out = bytes_of(dtype, rows * shape.query_width());
      decode(host, host_keys, host_values, host_out);
      decode(cuda, cuda_keys, cuda_values, cuda_out);
      EXPECT_EQ(std::memcmp(host_keys.span().data(), cuda_keys.span().data(), host_keys.span().size()), 0);
      EXPECT_EQ(std::memcmp(host_values.span().data(), cuda_values.span().data(), host_values.span().size()), 0);
      const at::Tensor expected = values_of(host_out, dtype, {rows, shape.query_width()});
      EXPECT_LE(relative_error(values_of(cuda_out, dtype, {rows, shape.query_width()}), expected),
                dtype == DType::kFloat32 ? 1e-6 : 6e-3)
          << "window " << window;
    }
  }
}

}  // namespace
}  // namespace penstock
