// The one file that calls LibTorch's CUDA libraries; all else goes through the dispatcher.
#include "model/cuda_memory.h"

#include "core/error.h"

#ifdef PENSTOCK_CUDA

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <ATen/cuda/CUDAContextLight.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "model/torch_errors.h"

namespace penstock {

namespace {

namespace allocator = c10::cuda::CUDACachingAllocator;

constexpr uint64_t kSmallSegment = 2 * kMiB;

c10::DeviceIndex device_of(int index) { return static_cast<c10::DeviceIndex>(index); }

uint64_t reserved_bytes(int device_index) {
  constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  return static_cast<uint64_t>(allocator::getDeviceStats(device_of(device_index)).reserved_bytes[kAll].current);
}

// The workspaces come with the first GEMM of each kind: a plain one, one into fp32, one with a bias (cuBLASLt).
void start_cublas(c10::Device device) {
  const at::Tensor matrix = at::zeros({16, 16}, at::TensorOptions(at::kBFloat16).device(device));
  at::Tensor wide = at::empty({16, 16}, at::TensorOptions(at::kFloat).device(device));
  at::mm_out(wide, matrix, matrix, at::kFloat);
  at::Tensor out = at::empty_like(matrix);
  at::mm_out(out, matrix, matrix);
  at::addmm_out(out, matrix[0], matrix, matrix);
}

// Tensors of up to 1 MiB have segments of 2 MiB of their own: as many as the plan counts for them, all at once.
void take_small_segments(c10::Device device) {
  constexpr int64_t kLargestSmall = static_cast<int64_t>(kMiB);
  std::vector<at::Tensor> small;
  for (uint64_t bytes = 0; bytes < kCudaSmallBytes; bytes += kMiB) {
    small.push_back(at::empty({kLargestSmall}, at::TensorOptions(at::kByte).device(device)));
  }
}

// What shapes the allocator's segments would break the plan: the one segment might not be used.
void refuse_allocator_settings() {
  for (const char* name : {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"}) {
    if (std::getenv(name) == nullptr) continue;
    throw Error(ExitCode::kDevice, std::string(name) + " is set, and the run plans LibTorch's memory itself; unset it");
  }
}

void cap_allocator(int device_index, uint64_t bytes) {
  cudaDeviceProp properties = {};
  if (cudaGetDeviceProperties(&properties, device_index) != cudaSuccess) {
    throw Error(ExitCode::kDevice,
                "device.index " + std::to_string(device_index) + ": the driver does not describe it");
  }
  // The allocator multiplies again; the segment's own rounding covers the last bit.
  const double fraction = static_cast<double>(bytes + kSmallSegment) / static_cast<double>(properties.totalGlobalMem);
  allocator::setMemoryFraction(std::min(1.0, fraction), device_of(device_index));
}

}  // namespace

void on_cuda_stream(void* stream, int device_index, c10::function_ref<void()> work) {
  // Once a process: nothing that follows would start LibTorch's allocator by itself.
  at::globalContext().lazyInitDevice(c10::kCUDA);
  const auto cuda_stream = c10::cuda::getStreamFromExternal(static_cast<cudaStream_t>(stream), device_of(device_index));
  const c10::cuda::CUDAStreamGuard guard(cuda_stream);  // the device's guard too
  work();
}

void reserve_cuda_temporaries(void* compute_stream, int device_index, uint64_t bytes) {
  refuse_allocator_settings();
  with_torch_errors([] { at::globalContext().lazyInitDevice(c10::kCUDA); });
  if (allocator::get()->name() != "native" || !allocator::isEnabled()) {
    throw Error(ExitCode::kDevice, "PYTORCH_CUDA_ALLOC_CONF or PYTORCH_NO_CUDA_MEMORY_CACHING replaces LibTorch's " +
                                       std::string("allocator (") + allocator::get()->name() + "); unset it");
  }
  release_cuda_temporaries(device_index);
  const uint64_t before = reserved_bytes(device_index);
  cap_allocator(device_index, before + bytes);
  const c10::InferenceMode no_autograd;
  const auto take = [&] {
    const c10::Device device(c10::kCUDA, device_of(device_index));
    start_cublas(device);
    take_small_segments(device);
    const uint64_t taken = reserved_bytes(device_index) - before;
    if (taken >= bytes) return;
    const uint64_t rest = (bytes - taken) / kSmallSegment * kSmallSegment;
    // Freed at once: it stays in the cache as one free segment.
    at::empty({static_cast<int64_t>(rest)}, at::TensorOptions(at::kByte).device(device));
  };
  with_torch_errors([&] { on_cuda_stream(compute_stream, device_index, take); });
}

void release_cuda_temporaries(int device_index) {
  with_torch_errors([&] {
    at::globalContext().lazyInitDevice(c10::kCUDA);
    at::cuda::clearCublasWorkspaces();
    allocator::emptyCache();
    allocator::setMemoryFraction(1.0, device_of(device_index));
    allocator::resetPeakStats(device_of(device_index));
    allocator::resetAccumulatedStats(device_of(device_index));
  });
}

CudaTemporaryUse cuda_temporary_use(int device_index) {
  with_torch_errors([] { at::globalContext().lazyInitDevice(c10::kCUDA); });  // statistics need an allocator
  constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  const auto stats = allocator::getDeviceStats(device_of(device_index));
  return {static_cast<uint64_t>(stats.reserved_bytes[kAll].current),
          static_cast<uint64_t>(stats.reserved_bytes[kAll].peak),
          static_cast<uint64_t>(stats.allocated_bytes[kAll].current),
          static_cast<uint64_t>(stats.allocated_bytes[kAll].peak), stats.num_alloc_retries};
}

}  // namespace penstock

#else

namespace penstock {

namespace {

[[noreturn]] void no_cuda() {
  throw Error(ExitCode::kDevice, "this build has no CUDA backend; configure it with -DPENSTOCK_CUDA=ON");
}

}  // namespace

void on_cuda_stream(void*, int, c10::function_ref<void()>) { no_cuda(); }
void reserve_cuda_temporaries(void*, int, uint64_t) { no_cuda(); }
void release_cuda_temporaries(int) { no_cuda(); }
CudaTemporaryUse cuda_temporary_use(int) { no_cuda(); }

}  // namespace penstock

#endif
