#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <vector>

#include "core/check.h"
#include "optim/adamw_kernels.h"
#include "optim/compact8_kernels.h"
#include "optim/compact_kernels.h"
#include "optim/fixed_blocks.h"
#include "optim/gradient_runs.h"
#include "optim/host_optimizer.h"
#include "optim/row_ranges.h"
#include "optim/state_planes.h"

namespace penstock {
namespace {

// An eps below fp32's smallest normal number would be flushed to zero, and an element without a gradient become 0 / 0.
float normal_eps(double eps) { return std::max(static_cast<float>(eps), std::numeric_limits<float>::min()); }

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
      .eps = normal_eps(step.eps),
      .step_size = static_cast<float>(step.learning_rate / bias1),
  };
}

CompactScalars derive_compact_scalars(const AdamWStep& step, bool decays) {
  const auto updates = static_cast<double>(step.update_count);
  const double bias2_sqrt = std::sqrt(1 - std::pow(step.beta2, updates));
  return {
      .m_gradient = static_cast<float>((1 - step.beta1) * step.gradient_scale),
      .v_gradient = static_cast<float>(std::sqrt(1 - step.beta2) * step.gradient_scale),
      .beta1 = static_cast<float>(step.beta1),
      .beta2 = static_cast<float>(step.beta2),
      .decay_factor = decays ? static_cast<float>(1 - step.learning_rate * step.weight_decay) : 1.0f,
      .eps = normal_eps(step.eps * bias2_sqrt),
      .step_size = static_cast<float>(step.learning_rate / (1 - std::pow(step.beta1, updates)) * bias2_sqrt),
  };
}

void check_step(const AdamWStep& step) {
  CHECK_GE(step.update_count, 1);
  CHECK_LE(step.update_count, int64_t{UINT32_MAX});
  CHECK(step.beta1 >= 0 && step.beta1 < 1);
  CHECK(step.beta2 >= 0 && step.beta2 < 1);
  CHECK(std::isfinite(step.gradient_scale));
}

void check_part(const LayerLayout& layout, const UpdatePart& part) {
  CHECK_GE(part.first_block, 0);
  if (part.rows == UpdatePart::Rows::kAll) return;
  CHECK(part.row_tensor != nullptr);
  CHECK(part.row_tensor->spec.trainable);
  CHECK_LE(part.row_tensor->offset + part.row_tensor->element_count, layout.trainable_elements());
  CHECK_EQ(part.hot_rows.size(), static_cast<size_t>(part.row_tensor->spec.shape[0]));
}

// One layer's update as its ranges see it.
template <typename Gradient>
class LayerUpdate {
 public:
  LayerUpdate(const LayerStateView& layer, const LayerGradientView& gradient, const AdamWStep& step)
      : planes_(state_planes(layer)),
        format_(layer.format),
        gradient_(gradient),
        adamw_(adamw_kernels<Gradient>(best_instruction_set())),
        compact_(compact_kernel<Gradient>(best_instruction_set())),
        compact8_(compact8_kernel<Gradient>(best_instruction_set())),
        scalars_{derive_scalars(step, false), derive_scalars(step, true)},
        compact_scalars_{derive_compact_scalars(step, false), derive_compact_scalars(step, true)},
        rounding_{step.seed, step.layer, static_cast<uint32_t>(step.update_count)} {}

  // `range` starts on a border of scale blocks.
  bool update_range(const TensorPlace& tensor, ElementRange range) const {
    GradientRuns<Gradient> runs(gradient_, tensor);
    bool finite = true;
    while (range.begin < range.end) {
      const auto run = runs.next(range);
      finite &= update_run(tensor, {range.begin, run.end}, run.values);
      range.begin = run.end;
    }
    return finite;
  }

 private:
  bool update_run(const TensorPlace& tensor, ElementRange range, const Gradient* gradient) const {
    const AdamWScalars& scalars = scalars_[tensor.spec.decays];
    const CompactScalars& compact_scalars = compact_scalars_[tensor.spec.decays];
    const StatePlanes& p = planes_;
    const uint64_t at = tensor.offset + static_cast<uint64_t>(range.begin);
    const int64_t count = range.end - range.begin;
    switch (format_) {
      case StateFormat::kExact:
        return adamw_.exact(p.hi + at, p.lo + at, p.m + at, p.v + at, gradient, count, scalars);
      case StateFormat::kFloat32:
        return adamw_.float32(p.master + at, p.m + at, p.v + at, gradient, count, scalars);
      case StateFormat::kCompact:
        return compact_({p.hi + at, p.m16 + at, p.v16 + at, gradient, count, at}, compact_scalars, rounding_);
      case StateFormat::kCompact8:
        return compact8_({p.hi + at, p.moments + at, p.scales + at / kScaleBlockElements, gradient, count, at},
                         compact_scalars, rounding_);
    }
    return false;
  }

  StatePlanes planes_;
  StateFormat format_;
  LayerGradientView gradient_;
  AdamWKernels<Gradient> adamw_;
  CompactKernel<Gradient> compact_;
  Compact8Kernel<Gradient> compact8_;
  AdamWScalars scalars_[2];  // [decays]
  CompactScalars compact_scalars_[2];
  RoundingSource rounding_;
};

bool is_row_tensor(const Block& block, const UpdatePart& part) {
  return part.rows != UpdatePart::Rows::kAll && block.tensor->offset == part.row_tensor->offset;
}

template <typename Gradient>
bool update_cold(const LayerUpdate<Gradient>& update, const Block& block, const UpdatePart& part) {
  bool finite = true;
  for (ElementRange rest{block.begin, block.end}; rest.begin < rest.end;) {
    const ElementRange hot = next_flagged_range(*block.tensor, part.hot_rows, rest);
    finite &= update.update_range(*block.tensor, {rest.begin, hot.begin});
    rest.begin = hot.end;
  }
  return finite;
}

// The hot ranges of the part's blocks, none longer than a block.
std::vector<ElementRange> hot_ranges(const FixedBlocks& blocks, const UpdatePart& part, int64_t end_block) {
  const FixedBlocks::BlockRange tensor_blocks = blocks.blocks_of(*part.row_tensor);
  const int64_t first = std::max(part.first_block, tensor_blocks.first);
  const int64_t end = std::min(end_block, tensor_blocks.end);
  std::vector<ElementRange> ranges;
  if (first >= end) return ranges;
  for (ElementRange rest{blocks.block(first).begin, blocks.block(end - 1).end}; rest.begin < rest.end;) {
    const ElementRange hot = next_flagged_range(*part.row_tensor, part.hot_rows, rest);
    for (int64_t begin = hot.begin; begin < hot.end; begin += kBlockElements) {
      ranges.push_back({begin, std::min(begin + kBlockElements, hot.end)});
    }
    rest.begin = hot.end;
  }
  return ranges;
}

template <typename Gradient>
bool update_part(const LayerUpdate<Gradient>& update, const LayerLayout& layout, WorkerTeam& team,
                 const UpdatePart& part) {
  const FixedBlocks blocks(layout);
  const int64_t end_block = std::min(part.end_block, blocks.block_count());
  std::atomic<bool> finite{true};
  const auto run = [&](int64_t count, const auto& update_one) {
    team.run(std::max<int64_t>(count, 0), [&](int64_t index) {
      if (!update_one(index)) finite.store(false, std::memory_order_relaxed);
    });
  };
  if (part.rows == UpdatePart::Rows::kHot) {
    const std::vector<ElementRange> ranges = hot_ranges(blocks, part, end_block);
    run(static_cast<int64_t>(ranges.size()),
        [&](int64_t index) { return update.update_range(*part.row_tensor, ranges[static_cast<size_t>(index)]); });
  } else {
    run(end_block - part.first_block, [&](int64_t index) {
      const Block block = blocks.block(part.first_block + index);
      if (is_row_tensor(block, part)) return update_cold(update, block, part);
      return update.update_range(*block.tensor, {block.begin, block.end});
    });
  }
  return finite.load();
}

}  // namespace

bool adamw_update(const LayerStateView& layer, const LayerGradientView& gradient, const AdamWStep& step,
                  WorkerTeam& team, const UpdatePart& part) {
  check_step(step);
  check_gradient(gradient);
  CHECK_EQ(gradient.layout->hash(), layer.layout->hash());
  check_part(*layer.layout, part);
  if (gradient.dtype == DType::kBFloat16) {
    return update_part(LayerUpdate<bf16_bits>(layer, gradient, step), *layer.layout, team, part);
  }
  return update_part(LayerUpdate<float>(layer, gradient, step), *layer.layout, team, part);
}

float clip_factor(double norm, double max_norm) {
  if (max_norm <= 0) return 1.0f;
  const double factor = max_norm / (norm + 1e-6);
  return factor > 1 ? 1.0f : static_cast<float>(factor);  // a NaN norm stays visible
}

}  // namespace penstock
