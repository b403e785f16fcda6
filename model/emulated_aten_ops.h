// The ATen ops that LibTorch has for CUDA only, on the CPU: GEMMs of bf16 operands into fp32, and flash attention with
// its borders, layouts and strides. Slow and plain, for tests and builds without a card: they hold callers to what the
// CUDA kernels demand (what those check, and what those only assume), so that our code around them is tested too.
#pragma once

namespace penstock {

// For the CPU's dispatch key, once for the process; later calls do nothing. Any thread.
void install_emulated_aten_ops();

}  // namespace penstock
