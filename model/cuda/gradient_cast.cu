#include "model/cuda/gradient_cast.h"

#include <cuda_bf16.h>

namespace penstock {
namespace {

constexpr int kThreads = 256;
constexpr int kElementsPerThread = 4;  // one 16-byte load, one 8-byte store

__global__ void pack_bf16_kernel(const float* __restrict__ from, uint16_t* __restrict__ to, int64_t count) {
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kElementsPerThread;
  if (first + kElementsPerThread <= count) {
    const float4 values = *reinterpret_cast<const float4*>(from + first);
    const ushort4 packed = make_ushort4(
        __bfloat16_as_ushort(__float2bfloat16_rn(values.x)), __bfloat16_as_ushort(__float2bfloat16_rn(values.y)),
        __bfloat16_as_ushort(__float2bfloat16_rn(values.z)), __bfloat16_as_ushort(__float2bfloat16_rn(values.w)));
    *reinterpret_cast<ushort4*>(to + first) = packed;
    return;
  }
  for (int64_t i = first; i < count; ++i) to[i] = __bfloat16_as_ushort(__float2bfloat16_rn(from[i]));
}

}  // namespace

cudaError_t launch_pack_bf16(const float* from, uint16_t* to, int64_t count, cudaStream_t stream) {
  if (count <= 0) return cudaSuccess;
  constexpr int64_t kPerBlock = static_cast<int64_t>(kThreads) * kElementsPerThread;
  const int64_t blocks = (count + kPerBlock - 1) / kPerBlock;
  pack_bf16_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(from, to, count);
  return cudaGetLastError();
}

}  // namespace penstock
