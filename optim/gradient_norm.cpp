#include <atomic>
#include <vector>

#include "optim/fixed_blocks.h"
#include "optim/host_optimizer.h"
#include "optim/norm_kernels.h"
#include "optim/state_planes.h"

namespace penstock {
namespace {

struct BlockNorm {
  double sum_of_squares;
  bool finite;
};

BlockNorm block_norm(const LayerGradientView& gradient, const Block& block, const NormKernels& kernels) {
  const std::byte* bytes = gradient.bytes.data() + block.slab_offset() * dtype_bytes(gradient.dtype);
  NormLanes lanes{};
  bool finite = true;
  for (int64_t begin = 0; begin < block.element_count();) {
    const RowRun run = row_run_at(block, begin, gradient.touched_rows);
    if (run.touched && gradient.dtype == DType::kBFloat16) {
      finite &= kernels.bfloat16(reinterpret_cast<const bf16_bits*>(bytes), run.begin, run.end, lanes);
    } else if (run.touched) {
      finite &= kernels.float32(reinterpret_cast<const float*>(bytes), run.begin, run.end, lanes);
    }
    begin = run.end;
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
    const BlockNorm norm = block_norm(gradient, blocks.block(index), kernels);
    sums[static_cast<size_t>(index)] = norm.sum_of_squares;
    if (!norm.finite) finite.store(false, std::memory_order_relaxed);
  });

  GradientNorm total{.sum_of_squares = 0, .finite = finite.load()};
  for (const double sum : sums) total.sum_of_squares += sum;
  return total;
}

}  // namespace penstock
