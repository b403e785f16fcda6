// CUDA kernels against the host's arithmetic. Without a card the test skips and says so.
#include "model/cuda/gradient_cast.h"

#include <gtest/gtest.h>

#include <vector>

#include "core/bf16.h"
#include "core/random.h"

namespace penstock {
namespace {

bool has_card() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

TEST(CudaGradientCast, EqualsTheHostForEveryLength) {
  if (!has_card()) GTEST_SKIP() << "no CUDA device: 1 GPU test was not run";
  for (const int64_t count : {1, 3, 4, 1023, 1024, 1025, 100003}) {
    std::vector<float> values(static_cast<size_t>(count));
    for (size_t i = 0; i < values.size(); ++i) values[i] = CounterRandom(1, 2).normal(i);
    float* from = nullptr;
    uint16_t* to = nullptr;
    ASSERT_EQ(cudaMalloc(reinterpret_cast<void**>(&from), values.size() * sizeof(float)), cudaSuccess);
    ASSERT_EQ(cudaMalloc(reinterpret_cast<void**>(&to), values.size() * sizeof(uint16_t)), cudaSuccess);
    ASSERT_EQ(cudaMemcpy(from, values.data(), values.size() * sizeof(float), cudaMemcpyHostToDevice), cudaSuccess);
    ASSERT_EQ(launch_pack_bf16(from, to, count, nullptr), cudaSuccess);
    std::vector<uint16_t> packed(values.size());
    ASSERT_EQ(cudaMemcpy(packed.data(), to, packed.size() * sizeof(uint16_t), cudaMemcpyDeviceToHost), cudaSuccess);
    for (size_t i = 0; i < values.size(); ++i) ASSERT_EQ(packed[i], bf16_from_float(values[i])) << i;
    cudaFree(from);
    cudaFree(to);
  }
}

}  // namespace
}  // namespace penstock
