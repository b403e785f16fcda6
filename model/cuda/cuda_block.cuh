// The block context on a card, and the launcher that enqueues kernels on a stream.
#pragma once

#include <cuda_runtime_api.h>

#include <string>
#include <type_traits>

#include "core/check.h"
#include "core/error.h"
#include "model/cuda/block.h"

namespace penstock {

class CudaBlock {
 public:
  __device__ int thread() const { return static_cast<int>(threadIdx.x); }
  __device__ int threads() const { return static_cast<int>(blockDim.x); }
  __device__ int64_t block() const { return blockIdx.x; }
  __device__ int64_t blocks() const { return gridDim.x; }
  __device__ void barrier() { __syncthreads(); }

  template <class T>
  __device__ T shuffle_xor(T value, int mask) {
    return __shfl_xor_sync(kAllLanes, value, mask);
  }
  template <class T>
  __device__ T shuffle_down(T value, int by) {
    return __shfl_down_sync(kAllLanes, value, static_cast<unsigned>(by));
  }
  template <class T>
  __device__ T* shared() {
    extern __shared__ __align__(16) unsigned char bytes[];
    return reinterpret_cast<T*>(bytes);
  }

 private:
  static constexpr unsigned kAllLanes = 0xffffffffu;
};

// Two blocks of 256 threads a multiprocessor at least, so at most 128 registers a thread: every kernel needs fewer.
inline constexpr int kCudaThreads = 256;

template <class Kernel>
__global__ void __launch_bounds__(kCudaThreads, 2) run_kernel(const Kernel kernel) {
  CudaBlock block;
  kernel(block);
}

class CudaLauncher {
 public:
  explicit CudaLauncher(cudaStream_t stream) : stream_(stream) {}

  int threads_per_block() const { return kCudaThreads; }

  void clear(void* to, uint64_t bytes) { check(cudaMemsetAsync(to, 0, bytes, stream_), "cudaMemsetAsync"); }
  void copy(void* to, const void* from, uint64_t bytes) {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_), "cudaMemcpyAsync");
  }

  template <class Kernel>
  void launch(const Kernel& kernel, const LaunchShape& shape) {
    static_assert(std::is_trivially_copyable_v<Kernel> && sizeof(Kernel) <= 4096, "kernels travel as an argument");
    if (shape.blocks == 0) return;
    CHECK_LE(shape.blocks, int64_t{0x7fffffff});
    CHECK_LE(shape.threads, kCudaThreads);
    CHECK_EQ(shape.threads % kWarpLanes, 0);
    CHECK_LE(shape.shared_bytes, kMostSharedBytes);
    // Not <<<>>> and cudaGetLastError(): that would report what another's call has left behind.
    void* arguments[] = {const_cast<Kernel*>(&kernel)};
    check(cudaLaunchKernel(reinterpret_cast<const void*>(&run_kernel<Kernel>),
                           dim3(static_cast<unsigned>(shape.blocks)), dim3(static_cast<unsigned>(shape.threads)),
                           arguments, static_cast<size_t>(shape.shared_bytes), stream_),
          "cudaLaunchKernel");
  }

 private:
  static void check(cudaError_t status, const char* call) {
    if (status == cudaSuccess) return;
    cudaGetLastError();  // the failure stays behind as the thread's last error otherwise
    throw Error(ExitCode::kDevice, std::string("the GPU failed at ") + call + ": " + cudaGetErrorString(status));
  }

  cudaStream_t stream_;
};

}  // namespace penstock
