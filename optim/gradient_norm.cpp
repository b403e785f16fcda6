#include <atomic>
#include <vector>

#include "optim/fixed_blocks.h"
#include "optim/gradient_runs.h"
#include "optim/host_optimizer.h"
#include "optim/norm_kernels.h"
#include "optim/state_planes.h"

namespace penstock {
namespace {

static_assert(kNormChunk == kScaleBlockElements);  // runs start on borders of both

struct BlockNorm {
  double sum_of_squares;
  bool finite;
};

template <typename Gradient>
BlockNorm block_norm(const LayerGradientView& gradient, const Block& block,
                     bool (*sum_squares)(const Gradient*, int64_t, NormLanes&)) {
  GradientRuns<Gradient> runs(gradient, *block.tensor);
  NormLanes lanes{};
  bool finite = true;
  for (ElementRange rest{block.begin, block.end}; rest.begin < rest.end;) {
    const auto run = runs.next(rest);
    if (!run.is_zero) finite &= sum_squares(run.values, run.end - rest.begin, lanes);
    rest.begin = run.end;
  }
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return {sum, finite};
}

}  // namespace

GradientNorm gradient_norm(const LayerGradientView& gradient, WorkerTeam& team) {
  check_gradient(gradient);
  const FixedBlocks blocks(*gradient.layout);
  const NormKernels kernels = norm_kernels(best_instruction_set());
  std::vector<double> sums(static_cast<size_t>(blocks.block_count()));
  std::atomic<bool> finite{true};
  team.run(blocks.block_count(), [&](int64_t index) {
    const Block block = blocks.block(index);
    const BlockNorm norm = gradient.dtype == DType::kBFloat16 ? block_norm(gradient, block, kernels.bfloat16)
                                                              : block_norm(gradient, block, kernels.float32);
    sums[static_cast<size_t>(index)] = norm.sum_of_squares;
    if (!norm.finite) finite.store(false, std::memory_order_relaxed);
  });

  GradientNorm total{.sum_of_squares = 0, .finite = finite.load()};
  for (const double sum : sums) total.sum_of_squares += sum;
  return total;
}

}  // namespace penstock
