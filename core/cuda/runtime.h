// The one table of CUDA runtime functions that core calls: the runtime itself (linked_runtime.h) or a test's stand-in.
// Plain types of our own, so that all but the linked table compiles and is tested where there is no CUDA.
// Exactly what is called, nothing else. Every function returns the runtime's status and throws nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace penstock {

// cudaError_t by value. Named are the codes that are treated specially; any other value may come.
enum class CudaStatus : int {
  kSuccess = 0,
  kInvalidValue = 1,
  kMemoryAllocation = 2,
  kInitializationError = 3,
  kStubLibrary = 34,
  kInsufficientDriver = 35,
  kDevicesUnavailable = 46,
  kNoDevice = 100,
  kInvalidDevice = 101,
  kUncorrectableMemory = 214,  // ECC
  kInvalidResourceHandle = 400,
  kNotReady = 600,
  kIllegalAddress = 700,
  kLaunchTimeout = 702,
  kHostMemoryAlreadyRegistered = 712,
  kHostMemoryNotRegistered = 713,
  kLaunchFailure = 719,
  kSystemNotReady = 802,
  kSystemDriverMismatch = 803,
  kUnsupportedCompatibility = 804,
  kUnknown = 999,
};

struct CudaProperties {
  std::string name;
  uint64_t memory_bytes = 0;
  int major = 0;  // compute capability
  int minor = 0;
  std::string pci_address = {};  // "0000:65:00.0"; empty: unknown
};

// cudaStream_t and cudaEvent_t; never looked into.
struct RawStream;
struct RawEvent;

enum class CopyDirection : uint8_t { kHostToDevice, kDeviceToHost, kDeviceToDevice };

enum class EventUse : uint8_t {
  kOrder,  // cudaEventDisableTiming | cudaEventBlockingSync: a waiting host thread sleeps, cores are few
  kTime,   // cudaEventBlockingSync, with a clock
  kClock,  // with a clock; a host thread that waits spins, so that it sees the end within microseconds
};

class CudaRuntime {
 public:
  virtual ~CudaRuntime() = default;

  virtual CudaStatus get_device_count(int* count) = 0;
  virtual CudaStatus get_properties(int device, CudaProperties* properties) = 0;
  // 1000 * major + 10 * minor; 0 where there is no driver. Fail where the driver is broken.
  virtual CudaStatus get_driver_version(int* version) = 0;
  virtual CudaStatus get_runtime_version(int* version) = 0;
  // Of the calling thread: 0 at first.
  virtual CudaStatus get_device(int* device) = 0;
  // For the calling thread; makes the device's context where there is none yet.
  virtual CudaStatus set_device(int device) = 0;

  virtual CudaStatus get_memory(uint64_t* free_bytes, uint64_t* total_bytes) = 0;
  virtual CudaStatus allocate(void** memory, uint64_t bytes) = 0;
  virtual CudaStatus free(void* memory) = 0;
  virtual CudaStatus fill_async(void* to, int value, uint64_t bytes, RawStream* stream) = 0;
  virtual CudaStatus copy_async(void* to, const void* from, uint64_t bytes, CopyDirection direction,
                                RawStream* stream) = 0;
  virtual CudaStatus register_host(void* memory, uint64_t bytes) = 0;
  virtual CudaStatus unregister_host(void* memory) = 0;

  virtual CudaStatus create_stream(RawStream** stream) = 0;  // cudaStreamNonBlocking
  virtual CudaStatus destroy_stream(RawStream* stream) = 0;
  virtual CudaStatus synchronize_stream(RawStream* stream) = 0;
  virtual CudaStatus create_event(EventUse use, RawEvent** event) = 0;
  virtual CudaStatus destroy_event(RawEvent* event) = 0;
  virtual CudaStatus record_event(RawEvent* event, RawStream* stream) = 0;
  virtual CudaStatus wait_event(RawStream* stream, RawEvent* event) = 0;
  virtual CudaStatus synchronize_event(RawEvent* event) = 0;
  virtual CudaStatus elapsed_ms(float* milliseconds, RawEvent* begin, RawEvent* end) = 0;

  // The calling thread's last error, which is forgotten unless it is sticky.
  virtual CudaStatus take_last_error() = 0;
  virtual std::string error_name(CudaStatus status) = 0;  // "cudaErrorInvalidValue"
  virtual std::string error_text(CudaStatus status) = 0;  // "invalid argument"
};

}  // namespace penstock
