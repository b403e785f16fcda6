// LibTorch's memory on a CUDA device: one segment of planned size that its temporaries are cut from.
// Its caching allocator asks the driver whenever no cached block fits, and packed batches make blocks of ever new
// sizes: device memory would grow and steps would stop for it. Instead the whole budget is taken once, before step 0,
// given back to the cache, and capped: every later temporary is cut from it. All but the workspaces end with their
// call, so that the segment is whole again before the next. Without the CUDA build the functions throw Error(kDevice).
#pragma once

#include <c10/util/FunctionRef.h>

#include <cstdint>

#include "core/bytes.h"
#include "model/cuda_numerics.h"

namespace penstock {

// Tensors of up to 1 MiB lie in segments of their own.
inline constexpr uint64_t kCudaSmallBytes = 16 * kMiB;

// What the allocator holds for one call's temporaries of `bytes`, with what it never gives back.
constexpr uint64_t cuda_allocator_bytes(uint64_t bytes) {
  constexpr uint64_t kBlock = 2 * kMiB;     // what segments are rounded to
  constexpr uint64_t kUnsplit = 16 * kMiB;  // remainders of up to 1 MiB that blocks keep, for at most 16 live tensors
  return align_up(bytes, kBlock) + 2 * kCublasWorkspaceBytes + kCudaSmallBytes + kUnsplit;  // cuBLAS's and cuBLASLt's
}

// Takes `bytes`, cuda_allocator_bytes() of the largest call, for temporaries of work on `compute_stream`; from its
// thread. Starts cuBLAS on it. Throws Error(kDoesNotFit) where the card has less, Error(kDevice) where LibTorch's
// allocator is not its own.
void reserve_cuda_temporaries(void* compute_stream, int device_index, uint64_t bytes);

// Gives all of it back, workspaces included, lifts the cap and begins the statistics anew. One engine may live at a
// time: this takes the segment from under another one.
void release_cuda_temporaries(int device_index);

struct CudaTemporaryUse {
  uint64_t reserved_bytes;       // taken from the driver now
  uint64_t reserved_peak_bytes;  // and at most
  uint64_t live_bytes;           // of it in use now: workspaces between calls
  uint64_t live_peak_bytes;
  int64_t stalls;  // times the cache was emptied to make room, each of them a stop of the whole device
};
// Any thread.
CudaTemporaryUse cuda_temporary_use(int device_index);

// Calls `work` with the stream as LibTorch's current one and its device as the thread's, both put back afterwards.
void on_cuda_stream(void* stream, int device_index, c10::function_ref<void()> work);

}  // namespace penstock
