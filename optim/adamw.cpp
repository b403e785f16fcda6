#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>

#include "core/check.h"
#include "optim/adamw_kernels.h"
#include "optim/fixed_blocks.h"
#include "optim/host_optimizer.h"
#include "optim/state_planes.h"

namespace penstock {
namespace {

// The gradient of rows that no token touched: read from here, 16 KiB that stay in L1.
constexpr int64_t kZeroElements = 4096;
alignas(64) constexpr std::array<float, kZeroElements> kZeroGradient{};

AdamWScalars derive_scalars(const AdamWStep& step, bool decays) {
  const auto updates = static_cast<double>(step.update_count);
  const double bias1 = 1 - std::pow(step.beta1, updates);
  const double bias2 = 1 - std::pow(step.beta2, updates);
  return {
      .gradient_scale = step.gradient_scale,
      .decay_factor = decays ? static_cast<float>(1 - step.learning_rate * step.weight_decay) : 1.0f,
      .one_minus_beta1 = static_cast<float>(1 - step.beta1),
      .beta2 = static_cast<float>(step.beta2),
      .one_minus_beta2 = static_cast<float>(1 - step.beta2),
      .bias2_sqrt = static_cast<float>(std::sqrt(bias2)),
      .eps = static_cast<float>(step.eps),
      .step_size = static_cast<float>(step.learning_rate / bias1),
  };
}

void check_step(const AdamWStep& step) {
  CHECK_GE(step.update_count, 1);
  CHECK(step.beta1 >= 0 && step.beta1 < 1);
  CHECK(step.beta2 >= 0 && step.beta2 < 1);
  CHECK(std::isfinite(step.gradient_scale));
}

// One layer's update as the blocks see it.
class LayerUpdate {
 public:
  LayerUpdate(const LayerStateView& layer, const LayerGradientView& gradient, const AdamWStep& step)
      : planes_(state_planes(layer)),
        exact_(layer.format == StateFormat::kExact),
        gradient_(gradient),
        kernels_(adamw_kernels(best_instruction_set())),
        decaying_(derive_scalars(step, true)),
        plain_(derive_scalars(step, false)) {}

  bool update_block(const Block& block) const {
    bool finite = true;
    for (int64_t begin = 0; begin < block.element_count();) {
      RowRun run = row_run_at(block, begin, gradient_.touched_rows);
      if (!run.touched) run.end = std::min(run.end, begin + kZeroElements);
      finite &= update_run(block, run);
      begin = run.end;
    }
    return finite;
  }

 private:
  bool update_run(const Block& block, const RowRun& run) const {
    const AdamWScalars& scalars = block.tensor->spec.decays ? decaying_ : plain_;
    const uint64_t at = block.slab_offset() + static_cast<uint64_t>(run.begin);
    const int64_t count = run.end - run.begin;
    const void* gradient = kZeroGradient.data();
    if (run.touched) gradient = gradient_.bytes.data() + at * dtype_bytes(gradient_.dtype);
    if (exact_) {
      return kernels_.exact(planes_.hi + at, planes_.lo + at, planes_.m + at, planes_.v + at,
                            static_cast<const bf16_bits*>(gradient), count, scalars);
    }
    return kernels_.float32(planes_.master + at, planes_.m + at, planes_.v + at, static_cast<const float*>(gradient),
                            count, scalars);
  }

  StatePlanes planes_;
  bool exact_;
  LayerGradientView gradient_;
  AdamWKernels kernels_;
  AdamWScalars decaying_;
  AdamWScalars plain_;
};

}  // namespace

bool adamw_update(const LayerStateView& layer, const LayerGradientView& gradient, const AdamWStep& step,
                  WorkerTeam& team) {
  check_step(step);
  check_gradient(gradient);
  const LayerUpdate update(layer, gradient, step);
  CHECK_EQ(gradient.layout->hash(), layer.layout->hash());
  CHECK(gradient.dtype == gradient_dtype(layer.format));

  const FixedBlocks blocks(*layer.layout);
  std::atomic<bool> finite{true};
  team.run(blocks.block_count(), [&](int64_t index) {
    if (!update.update_block(blocks.block(index))) finite.store(false, std::memory_order_relaxed);
  });
  return finite.load();
}

float clip_factor(double norm, double max_norm) {
  if (max_norm <= 0) return 1.0f;
  const double factor = max_norm / (norm + 1e-6);
  return factor > 1 ? 1.0f : static_cast<float>(factor);  // a NaN norm stays visible
}

}  // namespace penstock
