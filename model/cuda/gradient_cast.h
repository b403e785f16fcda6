// The one cast of a gradient on a CUDA device: fp32 slot -> bf16 wire staging, rounded to nearest even.
// 6 bytes moved per element; nothing else to do, so the kernel is bound by memory bandwidth.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace penstock {

// Enqueues on `stream` and returns before the work is done. Both pointers are device memory on 16-byte borders.
// Returns the launch's status.
cudaError_t launch_pack_bf16(const float* from, uint16_t* to, int64_t count, cudaStream_t stream);

}  // namespace penstock
