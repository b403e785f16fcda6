// What adamw_bench compares: passes over the state of one large layer, ours and the peers', each on memory of its own.
// Not a benchmark framework: a contender is a function and the bytes that it has to move.
// Invariant: memory of every contender is an Arena, so that all have the same pages; all work is the team's, but
// torch's, which has a pool of its own with as many threads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/arena.h"
#include "core/worker_team.h"
#include "optim/state_format.h"

namespace penstock {

struct Contender {
  std::string name;
  double bytes_per_parameter;  // that a pass has to move: reads and writes, without what write-allocation reads
  std::function<void(WorkerTeam& team)> pass;  // over all parameters
};

// The bound: words read and written in place, in blocks as the optimizer's, with the widest instructions. 24 bytes.
Contender stream_contender(int64_t parameters);
// Our optimizer, "exact", and its kernels alone with every instruction set of this machine, "exact avx2".
std::vector<Contender> adamw_contenders(StateFormat format, int64_t parameters);
// Norm and finite scan of the gradient: 2 bytes in bf16, 4 in fp32.
Contender norm_contender(DType dtype, int64_t parameters);
// Our casts, bf16 to fp32 and fp32 to bf16: 12 bytes.
Contender cast_contender(int64_t parameters);
// A plain loop in the shape of DeepSpeed's CPU Adam: fp32 gradient, master, m and v, and a bf16 copy-out. 30 bytes.
Contender offload_loop_contender(int64_t parameters);
// torch's _fused_adamw_ on fp32, 28 bytes; the same between the casts that training in bf16 needs, gradient to fp32
// and weight to bf16, 40 bytes; and these casts alone, 12 bytes.
std::vector<Contender> torch_contenders(int64_t parameters);

// Memory of one contender: every byte is 0x3c, written by all cores; as bf16 and as fp32 that is 0.0115.
class BenchMemory {
 public:
  // Up to 8 arrays of `bytes` in all.
  explicit BenchMemory(uint64_t bytes);

  std::span<std::byte> take_bytes(uint64_t bytes);
  template <class T>
  T* take(int64_t count) {
    return reinterpret_cast<T*>(take_bytes(static_cast<uint64_t>(count) * sizeof(T)).data());
  }

 private:
  Arena arena_;
  std::span<std::byte> free_;
};

}  // namespace penstock
