// The peers of adamw_bench. Bytes per parameter:
//   plain loop   fp32 gradient 4, master 4+4, m 4+4, v 4+4, bf16 weight 2                                  = 30
//   torch        fp32 gradient 4, master 4+4, m 4+4, v 4+4                                                 = 28
//   its casts    bf16 gradient 2 -> fp32 4, fp32 master 4 -> bf16 weight 2                                  = 12
#include <ATen/Parallel.h>
#include <ATen/ops/_fused_adamw_native.h>
#include <ATen/ops/from_blob.h>

#include <cmath>

#include "adamw_contenders.h"
#include "core/bf16.h"
#include "optim/fixed_blocks.h"
#include "optim/instruction_set.h"

namespace penstock {
namespace {

struct OffloadArrays {
  float* master;
  float* m;
  float* v;
  const float* gradient;
  bf16_bits* weight;
};

PENSTOCK_INLINE_BODY void offload_body(const OffloadArrays& arrays, int64_t begin, int64_t end) {
  constexpr float kBeta1 = 0.9f, kBeta2 = 0.95f, kDecay = 1 - 1e-5f, kBias2Sqrt = 0.3f, kEps = 1e-8f, kStepSize = 1e-4f;
  float* __restrict const master = arrays.master;
  float* __restrict const m = arrays.m;
  float* __restrict const v = arrays.v;
  const float* __restrict const gradient = arrays.gradient;
  bf16_bits* __restrict const weight = arrays.weight;
  for (int64_t i = begin; i < end; ++i) {
    const float g = gradient[i];
    m[i] = m[i] * kBeta1 + (1 - kBeta1) * g;
    v[i] = v[i] * kBeta2 + (1 - kBeta2) * g * g;
    master[i] = master[i] * kDecay - kStepSize * m[i] / (std::sqrt(v[i]) / kBias2Sqrt + kEps);
    weight[i] = bf16_from_float(master[i]);
  }
}

using OffloadLoop = void (*)(const OffloadArrays& arrays, int64_t begin, int64_t end);
void offload_baseline(const OffloadArrays& arrays, int64_t begin, int64_t end) { offload_body(arrays, begin, end); }
PENSTOCK_TARGET_AVX2 void offload_avx2(const OffloadArrays& arrays, int64_t begin, int64_t end) {
  offload_body(arrays, begin, end);
}
PENSTOCK_TARGET_AVX512 void offload_avx512(const OffloadArrays& arrays, int64_t begin, int64_t end) {
  offload_body(arrays, begin, end);
}

OffloadLoop offload_loop(InstructionSet set) {
  switch (set) {
    case InstructionSet::kBaseline:
      return offload_baseline;
    case InstructionSet::kAvx2:
      return offload_avx2;
    case InstructionSet::kAvx512:
      return offload_avx512;
  }
  return offload_baseline;
}

at::Tensor tensor_of(void* data, int64_t count, at::ScalarType type) {
  return at::from_blob(data, {count}, at::TensorOptions().dtype(type));
}

// One flat parameter with the state of torch.optim.AdamW(fused=True), and the bf16 tensors that training streams.
struct TorchState {
  explicit TorchState(int64_t count)
      : memory(static_cast<uint64_t>(count) * (4 * sizeof(float) + 2 * sizeof(bf16_bits))),
        master(tensor_of(memory.take<float>(count), count, at::kFloat)),
        m(tensor_of(memory.take<float>(count), count, at::kFloat)),
        v(tensor_of(memory.take<float>(count), count, at::kFloat)),
        gradient(tensor_of(memory.take<float>(count), count, at::kFloat)),
        wire_weight(tensor_of(memory.take<bf16_bits>(count), count, at::kBFloat16)),
        wire_gradient(tensor_of(memory.take<bf16_bits>(count), count, at::kBFloat16)),
        step(tensor_of(&update_count, 1, at::kFloat)) {}

  void update() {
    const auto list = [](at::Tensor& tensor) { return at::TensorList(&tensor, 1); };
    update_count += 1;
    at::native::_fused_adamw_kernel_cpu_(
        list(master), list(gradient), list(m), list(v), {}, list(step), /*lr=*/1e-4, /*beta1=*/0.9,
        /*beta2=*/0.95, /*weight_decay=*/0.1, /*eps=*/1e-8, /*amsgrad=*/false, /*maximize=*/false);
  }

  BenchMemory memory;
  float update_count = 0;  // torch keeps it as a tensor
  at::Tensor master, m, v, gradient, wire_weight, wire_gradient, step;
};

}  // namespace

Contender offload_loop_contender(int64_t parameters) {
  const auto memory =
      std::make_shared<BenchMemory>(static_cast<uint64_t>(parameters) * (4 * sizeof(float) + sizeof(bf16_bits)));
  const OffloadArrays arrays = {.master = memory->take<float>(parameters),
                                .m = memory->take<float>(parameters),
                                .v = memory->take<float>(parameters),
                                .gradient = memory->take<float>(parameters),
                                .weight = memory->take<bf16_bits>(parameters)};
  const OffloadLoop loop = offload_loop(best_instruction_set());
  return {"plain loop", 30, [memory, arrays, loop, parameters](WorkerTeam& team) {
            team.run(parameters / kBlockElements,
                     [&](int64_t block) { loop(arrays, block * kBlockElements, (block + 1) * kBlockElements); });
          }};
}

std::vector<Contender> torch_contenders(int64_t parameters) {
  const auto state = std::make_shared<TorchState>(parameters);
  const auto set_threads = [](const WorkerTeam& team) { at::set_num_threads(team.thread_count()); };
  std::vector<Contender> contenders;
  contenders.push_back({"torch fused", 28, [=](WorkerTeam& team) {
                          set_threads(team);
                          state->update();
                        }});
  contenders.push_back({"torch fused, casts", 40, [=](WorkerTeam& team) {
                          set_threads(team);
                          state->gradient.copy_(state->wire_gradient);
                          state->update();
                          state->wire_weight.copy_(state->master);
                        }});
  contenders.push_back({"torch casts alone", 12, [=](WorkerTeam& team) {
                          set_threads(team);
                          state->gradient.copy_(state->wire_gradient);
                          state->wire_weight.copy_(state->master);
                        }});
  return contenders;
}

}  // namespace penstock
