// What every GPU test opens with: it runs on a card, or is skipped with one loud line that says so.
// The question is cudaGetDeviceCount's: it makes no context, and without a driver it fails without side effects. Tests
// are to be skipped where there is no card, and to fail where one is broken, so only the answers "no driver", "driver
// too old" and "no device" skip.
#pragma once

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

namespace penstock {

/// Whether there is a device to test on. A driver that is there but fails for another reason counts as one.
inline bool gpu_is_there() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess) return count > 0;
  cudaGetLastError();  // the failure stays behind as the thread's last error otherwise
  return error != cudaErrorNoDevice && error != cudaErrorInsufficientDriver;
}

}  // namespace penstock

// ctest marks the test as skipped by GoogleTest's own line; scripts/test.sh says at the end how many there were.
#define PENSTOCK_REQUIRE_GPU()                                     \
  do {                                                             \
    if (!::penstock::gpu_is_there()) {                             \
      GTEST_SKIP() << "no CUDA device: this GPU test was not run"; \
    }                                                              \
  } while (false)
