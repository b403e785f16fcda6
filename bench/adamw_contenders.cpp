#include "adamw_contenders.h"

#include <algorithm>

#include "bench_run.h"
#include "core/bytes.h"
#include "core/check.h"
#include "core/layer_layout.h"
#include "optim/adamw_kernels.h"
#include "optim/cast_kernels.h"
#include "optim/compact8_kernels.h"
#include "optim/compact_kernels.h"
#include "optim/fixed_blocks.h"
#include "optim/host_optimizer.h"
#include "optim/state_planes.h"

namespace penstock {
namespace {

constexpr uint64_t kArrayAlignment = 4096;
constexpr uint64_t kPieceBytes = 1 << 21;

PENSTOCK_INLINE_BODY void stream_body(uint32_t* words, int64_t count) {
  for (int64_t i = 0; i < count; ++i) words[i] += 0x9e3779b9u;
}
void stream_baseline(uint32_t* words, int64_t count) { stream_body(words, count); }
PENSTOCK_TARGET_AVX2 void stream_avx2(uint32_t* words, int64_t count) { stream_body(words, count); }
PENSTOCK_TARGET_AVX512 void stream_avx512(uint32_t* words, int64_t count) { stream_body(words, count); }

// One layer of one tensor: wire weights, state, gradient.
struct BenchLayer {
  BenchLayer(StateFormat state_format, int64_t parameters)
      : layout({{"weight", {parameters}}}),
        format(state_format),
        memory(2 * wire_bytes() + layer_state_bytes()),
        wire(memory.take_bytes(wire_bytes())),
        state(memory.take_bytes(layer_state_bytes())),
        gradient(memory.take_bytes(wire_bytes())) {}

  uint64_t wire_bytes() const { return layout.slab_bytes(dtype_bytes(wire_dtype(format))); }
  uint64_t layer_state_bytes() const { return state_bytes(format, layout.trainable_elements()); }
  LayerStateView state_view() const { return {&layout, format, wire, state}; }
  LayerGradientView gradient_view() const { return {&layout, gradient_dtype(format), gradient, {}}; }

  LayerLayout layout;
  StateFormat format;
  BenchMemory memory;
  std::span<std::byte> wire;
  std::span<std::byte> state;
  std::span<std::byte> gradient;
  AdamWStep step = {.learning_rate = 1e-4, .weight_decay = 0.1, .seed = 1};
};

// A kernel of that instruction set on one block, with any numbers: its speed does not depend on them.
template <class Gradient>
bool update_block_with(const BenchLayer& layer, InstructionSet set, int64_t at) {
  constexpr AdamWScalars kScalars = {.gradient_scale = 1,
                                     .decay_factor = 0.99999f,
                                     .one_minus_beta1 = 0.1f,
                                     .beta2 = 0.95f,
                                     .one_minus_beta2 = 0.05f,
                                     .bias2_sqrt = 0.9f,
                                     .eps = 1e-8f,
                                     .step_size = 1e-4f};
  constexpr CompactScalars kCompactScalars = {.m_gradient = 0.1f,
                                              .v_gradient = 0.22f,
                                              .beta1 = 0.9f,
                                              .beta2 = 0.95f,
                                              .decay_factor = 0.99999f,
                                              .eps = 1e-8f,
                                              .step_size = 1e-4f};
  const StatePlanes p = state_planes(layer.state_view());
  const auto* const gradient = reinterpret_cast<const Gradient*>(layer.gradient.data()) + at;
  const auto first = static_cast<uint64_t>(at);
  const RoundingSource rounding = {.seed = 1, .layer = 1, .update = 1};
  switch (layer.format) {
    case StateFormat::kExact:
      return adamw_kernels<Gradient>(set).exact(p.hi + at, p.lo + at, p.m + at, p.v + at, gradient, kBlockElements,
                                                kScalars);
    case StateFormat::kFloat32:
      return adamw_kernels<Gradient>(set).float32(p.master + at, p.m + at, p.v + at, gradient, kBlockElements,
                                                  kScalars);
    case StateFormat::kCompact:
      return compact_kernel<Gradient>(set)({p.hi + at, p.m16 + at, p.v16 + at, gradient, kBlockElements, first},
                                           kCompactScalars, rounding);
    case StateFormat::kCompact8:
      return compact8_kernel<Gradient>(set)(
          {p.hi + at, p.moments + at, p.scales + first / kScaleBlockElements, gradient, kBlockElements, first},
          kCompactScalars, rounding);
  }
  return false;
}

bool update_block(const BenchLayer& layer, InstructionSet set, int64_t at) {
  return gradient_dtype(layer.format) == DType::kFloat32 ? update_block_with<float>(layer, set, at)
                                                         : update_block_with<bf16_bits>(layer, set, at);
}

}  // namespace

BenchMemory::BenchMemory(uint64_t bytes) : arena_("adamw_bench", bytes + 8 * kArrayAlignment) {
  free_ = arena_.allocate(bytes + 8 * kArrayAlignment);
  WorkerTeam team(core_count());
  team.run(static_cast<int64_t>(free_.size() / kPieceBytes) + 1, [this](int64_t piece) {
    const uint64_t begin = static_cast<uint64_t>(piece) * kPieceBytes;
    const std::span<std::byte> rest = free_.subspan(begin);
    std::ranges::fill(rest.first(std::min(kPieceBytes, rest.size())), std::byte{0x3c});
  });
}

std::span<std::byte> BenchMemory::take_bytes(uint64_t bytes) {
  const uint64_t taken = align_up(bytes, kArrayAlignment);
  CHECK_LE(taken, free_.size());
  const std::span<std::byte> array = free_.first(bytes);
  free_ = free_.subspan(taken);
  return array;
}

Contender stream_contender(int64_t parameters) {
  constexpr int64_t kWordsPerParameter = 3;
  constexpr int64_t kBlockWords = kWordsPerParameter * kBlockElements;
  const int64_t word_count = kWordsPerParameter * parameters;
  const auto memory = std::make_shared<BenchMemory>(static_cast<uint64_t>(word_count) * sizeof(uint32_t));
  auto* const words = memory->take<uint32_t>(word_count);
  constexpr void (*kTouch[kInstructionSetCount])(uint32_t*, int64_t) = {stream_baseline, stream_avx2, stream_avx512};
  const auto touch = kTouch[static_cast<int>(best_instruction_set())];
  return {"stream in place", 2 * kWordsPerParameter * sizeof(uint32_t),
          [memory, words, touch, word_count](WorkerTeam& team) {
            team.run(word_count / kBlockWords, [&](int64_t block) { touch(words + block * kBlockWords, kBlockWords); });
          }};
}

std::vector<Contender> adamw_contenders(StateFormat format, int64_t parameters) {
  const auto layer = std::make_shared<BenchLayer>(format, parameters);
  const std::string name(state_format_name(format));
  std::vector<Contender> contenders;
  contenders.push_back({name, moved_bytes_per_parameter(format), [layer](WorkerTeam& team) {
                          CHECK(adamw_update(layer->state_view(), layer->gradient_view(), layer->step, team));
                          ++layer->step.update_count;
                        }});
  for (const InstructionSet set : {InstructionSet::kBaseline, InstructionSet::kAvx2, InstructionSet::kAvx512}) {
    if (!cpu_supports(set)) continue;
    contenders.push_back({name + " " + std::string(instruction_set_name(set)), moved_bytes_per_parameter(format),
                          [layer, set, parameters](WorkerTeam& team) {
                            team.run(parameters / kBlockElements,
                                     [&](int64_t block) { CHECK(update_block(*layer, set, block * kBlockElements)); });
                          }});
  }
  return contenders;
}

Contender cast_contender(int64_t parameters) {
  const auto memory = std::make_shared<BenchMemory>(static_cast<uint64_t>(parameters) * 12);
  auto* const gradient = memory->take<float>(parameters);
  auto* const master = memory->take<float>(parameters);
  auto* const wire_gradient = memory->take<bf16_bits>(parameters);
  auto* const wire_weight = memory->take<bf16_bits>(parameters);
  return {"casts", 12, [=](WorkerTeam& team) {
            (void)memory;  // kept
            team.run(parameters / kBlockElements, [=](int64_t block) {
              const int64_t at = block * kBlockElements;
              cast_to_float({wire_gradient + at, kBlockElements}, {gradient + at, kBlockElements});
            });
            team.run(parameters / kBlockElements, [=](int64_t block) {
              const int64_t at = block * kBlockElements;
              cast_to_bfloat16({master + at, kBlockElements}, {wire_weight + at, kBlockElements});
            });
          }};
}

Contender norm_contender(DType dtype, int64_t parameters) {
  struct Gradient {
    Gradient(DType dtype, int64_t count)
        : layout({{"weight", {count}}}),
          memory(layout.slab_bytes(dtype_bytes(dtype))),
          bytes(memory.take_bytes(layout.slab_bytes(dtype_bytes(dtype)))) {}

    LayerLayout layout;
    BenchMemory memory;
    std::span<std::byte> bytes;
  };
  const auto gradient = std::make_shared<Gradient>(dtype, parameters);
  return {"norm " + std::string(dtype_name(dtype)), static_cast<double>(dtype_bytes(dtype)),
          [gradient, dtype](WorkerTeam& team) {
            CHECK(gradient_norm({&gradient->layout, dtype, gradient->bytes, {}}, team).finite);
          }};
}

}  // namespace penstock
