// The one file that calls LibTorch's CUDA libraries; all else goes through the dispatcher.
#include "model/cuda_memory.h"

#include "core/error.h"

#ifdef PENSTOCK_CUDA

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
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
  const auto cuda_stream = c10::cuda::getStreamFromExternal(static_cast<cudaStream_t>(stream), device_of(device_index));
  const c10::cuda::CUDAStreamGuard guard(cuda_stream);  // the device's guard too
  work();
}

void reserve_cuda_temporaries(void* compute_stream, int device_index, uint64_t bytes) {
  with_torch_errors([] { at::globalContext().lazyInitDevice(c10::kCUDA); });
  if (allocator::get()->name() != "native" || !allocator::isEnabled()) {
    throw Error(ExitCode::kDevice, "PYTORCH_CUDA_ALLOC_CONF or PYTORCH_NO_CUDA_MEMORY_CACHING replaces LibTorch's " +
                                       std::string("allocator (") + allocator::get()->name() + "); unset it");
  }
  // Nothing in a run; in tests, the workspaces of streams that are gone.
  allocator::emptyCache();
  const uint64_t before = reserved_bytes(device_index);
  cap_allocator(device_index, before + bytes);
  const c10::InferenceMode no_autograd;
  const auto take = [&] {
    const c10::Device device(c10::kCUDA, device_of(device_index));
    start_cublas(device);
    // Small tensors may still take 16 MiB of their own.
    const uint64_t taken = reserved_bytes(device_index) - before + 8 * kSmallSegment;
    if (taken >= bytes) return;
    const uint64_t rest = (bytes - taken) / kSmallSegment * kSmallSegment;
    // Freed at once: it stays in the cache as one free segment.
    at::empty({static_cast<int64_t>(rest)}, at::TensorOptions(at::kByte).device(device));
  };
  with_torch_errors([&] { on_cuda_stream(compute_stream, device_index, take); });
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
CudaTemporaryUse cuda_temporary_use(int) { no_cuda(); }

}  // namespace penstock

#endif
