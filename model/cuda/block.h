// What a kernel of ours sees of its block: the contract that CudaBlock (cuda_block.cuh) and EmulatedBlock
// (emulated_block.h, one host thread per thread) keep, so that the very kernel code runs in tests without a card.
//
// A kernel is a plain struct of its arguments with
//   template <class Block> PENSTOCK_KERNEL_CODE void operator()(Block& block) const;
// and Block has
//   int thread(), threads();          this thread in its block, and how many there are: full warps of 32
//   int64_t block(), blocks();        this block in the launch, and how many there are
//   void barrier();                   all threads of the block; orders their accesses to memory
//   T shuffle_xor(T value, int mask); the value of lane ^ mask of this warp; T is 4 or 8 bytes
//   T shuffle_down(T value, int by);  the value of lane + by, the own value past the warp's end
//   T* shared<T>();                   the launch's shared bytes, on a 16-byte border, undefined at first
// A launcher (cuda_block.cuh, emulated_block.h) has
//   int threads_per_block();                                          at most; any smaller number of full warps may be
//   launch(kernel, LaunchShape{blocks, threads, shared_bytes});       used, and no blocks at all are no launch
//   clear(to, bytes), copy(to, from, bytes);
//
// Rules for kernels: every thread of a block meets the same barriers, every lane of a warp the same shuffles. A shuffle
// orders no memory, a barrier does. The number of threads is the launch's choice: kernels loop, whatever it is.
#pragma once

#include <cstdint>

// Kernel code runs on the card where nvcc compiles it and on the host where g++ does; never both from one compiler, or
// the linker would have two host versions of one inline function.
#ifdef __CUDACC__
#define PENSTOCK_KERNEL_CODE __device__
#define PENSTOCK_UNROLL _Pragma("unroll")
#else
#define PENSTOCK_KERNEL_CODE
#define PENSTOCK_UNROLL
#endif

namespace penstock {

inline constexpr int kWarpLanes = 32;
inline constexpr int64_t kMostSharedBytes = 48 << 10;  // what every card gives a block without asking

struct LaunchShape {
  int64_t blocks;
  int threads;
  int64_t shared_bytes;
};

constexpr int64_t ceil_divide(int64_t count, int64_t part) { return (count + part - 1) / part; }

// Full warps for `work_items` that threads share, at most `most`.
constexpr int threads_for(int64_t work_items, int most) {
  const int64_t warps = work_items > kWarpLanes ? ceil_divide(work_items, kWarpLanes) : 1;
  return warps * kWarpLanes < most ? static_cast<int>(warps) * kWarpLanes : most;
}

}  // namespace penstock
