#include "model/cuda/emulated_kernel_set.h"

#include "model/cuda/emulated_block.h"
#include "model/cuda/kernel_set_over.h"

namespace penstock {

std::unique_ptr<KernelSet> make_emulated_kernel_set(int threads_per_block) {
  return std::make_unique<KernelSetOver<EmulatedLauncher>>(threads_per_block);
}

}  // namespace penstock
