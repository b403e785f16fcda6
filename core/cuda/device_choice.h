// Whether this machine has a GPU that we can use, and why not.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/cuda/runtime.h"

namespace penstock {

struct CudaDeviceInfo {
  CudaProperties properties;
  int driver_version = 0;   // the newest CUDA the driver runs: 1000 * major + 10 * minor
  int runtime_version = 0;  // the CUDA we were built with
  uint64_t free_bytes = 0;  // with our context in place
  uint64_t total_bytes = 0;
};

struct CudaDeviceChoice {
  std::optional<CudaDeviceInfo> info;  // of a device that can be used
  bool is_absent = false;              // no driver or no GPU: nothing that a user would miss under `auto`
  std::string problem;                 // one line: what is wrong and what to do; empty with `info`
};

// kOpen makes the device's context, which takes time and some of its memory, and makes it current on the calling
// thread; free_bytes is then what there is. kLook, for verbs that compute nothing, does neither: free_bytes is all the
// memory.
enum class CudaLook : uint8_t { kLook, kOpen };
// Never throws; leaves no error behind.
CudaDeviceChoice choose_cuda_device(CudaRuntime& runtime, int index, CudaLook look = CudaLook::kOpen);

}  // namespace penstock
