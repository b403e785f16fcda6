// Compiled where the build has CUDA, in place of unlinked_runtime.cpp. One call each, no decisions.
#include "core/cuda/linked_runtime.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

namespace penstock {
namespace {

// The names in CudaStatus are those of cudaError_t.
static_assert(cudaSuccess == static_cast<int>(CudaStatus::kSuccess));
static_assert(cudaErrorInvalidValue == static_cast<int>(CudaStatus::kInvalidValue));
static_assert(cudaErrorMemoryAllocation == static_cast<int>(CudaStatus::kMemoryAllocation));
static_assert(cudaErrorInitializationError == static_cast<int>(CudaStatus::kInitializationError));
static_assert(cudaErrorStubLibrary == static_cast<int>(CudaStatus::kStubLibrary));
static_assert(cudaErrorInsufficientDriver == static_cast<int>(CudaStatus::kInsufficientDriver));
static_assert(cudaErrorDevicesUnavailable == static_cast<int>(CudaStatus::kDevicesUnavailable));
static_assert(cudaErrorNoDevice == static_cast<int>(CudaStatus::kNoDevice));
static_assert(cudaErrorInvalidDevice == static_cast<int>(CudaStatus::kInvalidDevice));
static_assert(cudaErrorECCUncorrectable == static_cast<int>(CudaStatus::kUncorrectableMemory));
static_assert(cudaErrorInvalidResourceHandle == static_cast<int>(CudaStatus::kInvalidResourceHandle));
static_assert(cudaErrorNotReady == static_cast<int>(CudaStatus::kNotReady));
static_assert(cudaErrorIllegalAddress == static_cast<int>(CudaStatus::kIllegalAddress));
static_assert(cudaErrorLaunchTimeout == static_cast<int>(CudaStatus::kLaunchTimeout));
static_assert(cudaErrorHostMemoryAlreadyRegistered == static_cast<int>(CudaStatus::kHostMemoryAlreadyRegistered));
static_assert(cudaErrorHostMemoryNotRegistered == static_cast<int>(CudaStatus::kHostMemoryNotRegistered));
static_assert(cudaErrorLaunchFailure == static_cast<int>(CudaStatus::kLaunchFailure));
static_assert(cudaErrorSystemDriverMismatch == static_cast<int>(CudaStatus::kSystemDriverMismatch));
static_assert(cudaErrorCompatNotSupportedOnDevice == static_cast<int>(CudaStatus::kUnsupportedCompatibility));
static_assert(cudaErrorUnknown == static_cast<int>(CudaStatus::kUnknown));

CudaStatus status_of(cudaError_t error) { return static_cast<CudaStatus>(error); }
cudaStream_t stream_of(RawStream* stream) { return reinterpret_cast<cudaStream_t>(stream); }
cudaEvent_t event_of(RawEvent* event) { return reinterpret_cast<cudaEvent_t>(event); }

cudaMemcpyKind kind_of(CopyDirection direction) {
  if (direction == CopyDirection::kHostToDevice) return cudaMemcpyHostToDevice;
  return direction == CopyDirection::kDeviceToHost ? cudaMemcpyDeviceToHost : cudaMemcpyDeviceToDevice;
}

unsigned flags_of(EventUse use) {
  if (use == EventUse::kOrder) return cudaEventDisableTiming | cudaEventBlockingSync;
  return use == EventUse::kTime ? cudaEventBlockingSync : cudaEventDefault;
}

class LinkedRuntime final : public CudaRuntime {
 public:
  CudaStatus get_device_count(int* count) override { return status_of(cudaGetDeviceCount(count)); }
  CudaStatus get_properties(int device, CudaProperties* properties) override {
    cudaDeviceProp found{};
    const cudaError_t error = cudaGetDeviceProperties(&found, device);
    if (error != cudaSuccess) return status_of(error);
    *properties = {found.name, found.totalGlobalMem, found.major, found.minor,
                   fmt::format("{:04x}:{:02x}:{:02x}.0", found.pciDomainID, found.pciBusID, found.pciDeviceID)};
    return status_of(error);
  }
  CudaStatus get_driver_version(int* version) override { return status_of(cudaDriverGetVersion(version)); }
  CudaStatus get_runtime_version(int* version) override { return status_of(cudaRuntimeGetVersion(version)); }
  CudaStatus get_device(int* device) override { return status_of(cudaGetDevice(device)); }
  CudaStatus set_device(int device) override { return status_of(cudaSetDevice(device)); }

  CudaStatus get_memory(uint64_t* free_bytes, uint64_t* total_bytes) override {
    size_t free_now = 0, total = 0;
    const cudaError_t error = cudaMemGetInfo(&free_now, &total);
    *free_bytes = free_now;
    *total_bytes = total;
    return status_of(error);
  }
  CudaStatus allocate(void** memory, uint64_t bytes) override { return status_of(cudaMalloc(memory, bytes)); }
  CudaStatus free(void* memory) override { return status_of(cudaFree(memory)); }
  CudaStatus fill_async(void* to, int value, uint64_t bytes, RawStream* stream) override {
    return status_of(cudaMemsetAsync(to, value, bytes, stream_of(stream)));
  }
  CudaStatus copy_async(void* to, const void* from, uint64_t bytes, CopyDirection direction,
                        RawStream* stream) override {
    return status_of(cudaMemcpyAsync(to, from, bytes, kind_of(direction), stream_of(stream)));
  }
  CudaStatus register_host(void* memory, uint64_t bytes) override {
    return status_of(cudaHostRegister(memory, bytes, cudaHostRegisterDefault));
  }
  CudaStatus unregister_host(void* memory) override { return status_of(cudaHostUnregister(memory)); }

  CudaStatus create_stream(RawStream** stream) override {
    cudaStream_t made = nullptr;
    const cudaError_t error = cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking);
    *stream = reinterpret_cast<RawStream*>(made);
    return status_of(error);
  }
  CudaStatus destroy_stream(RawStream* stream) override { return status_of(cudaStreamDestroy(stream_of(stream))); }
  CudaStatus synchronize_stream(RawStream* stream) override {
    return status_of(cudaStreamSynchronize(stream_of(stream)));
  }
  CudaStatus create_event(EventUse use, RawEvent** event) override {
    cudaEvent_t made = nullptr;
    const cudaError_t error = cudaEventCreateWithFlags(&made, flags_of(use));
    *event = reinterpret_cast<RawEvent*>(made);
    return status_of(error);
  }
  CudaStatus destroy_event(RawEvent* event) override { return status_of(cudaEventDestroy(event_of(event))); }
  CudaStatus record_event(RawEvent* event, RawStream* stream) override {
    return status_of(cudaEventRecord(event_of(event), stream_of(stream)));
  }
  CudaStatus wait_event(RawStream* stream, RawEvent* event) override {
    return status_of(cudaStreamWaitEvent(stream_of(stream), event_of(event), cudaEventWaitDefault));
  }
  CudaStatus synchronize_event(RawEvent* event) override { return status_of(cudaEventSynchronize(event_of(event))); }
  CudaStatus elapsed_ms(float* milliseconds, RawEvent* begin, RawEvent* end) override {
    return status_of(cudaEventElapsedTime(milliseconds, event_of(begin), event_of(end)));
  }

  CudaStatus take_last_error() override { return status_of(cudaGetLastError()); }
  std::string error_name(CudaStatus status) override { return cudaGetErrorName(static_cast<cudaError_t>(status)); }
  std::string error_text(CudaStatus status) override { return cudaGetErrorString(static_cast<cudaError_t>(status)); }
};

}  // namespace

CudaRuntime* linked_cuda_runtime() {
  static LinkedRuntime runtime;
  return &runtime;
}

}  // namespace penstock
