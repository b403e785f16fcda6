// What the compute device multiplies: flops a second of a square product, by element type, through the very call that a
// linear layer makes (model/gemm.h). 2 n^3 flops a product.
#pragma once

#include <cstdint>

#include "app/probe/turns.h"
#include "core/device.h"
#include "core/dtype.h"
#include "model/maths.h"

namespace penstock {

struct GemmRate {
  DType dtype = DType::kFloat32;
  int64_t size = 0;  // n, the largest that the time allowed
  double tflops = 0;
};

struct GemmLimits {
  int64_t most_size = 4096;
  double sample_seconds = 0.2;  // n doubles until a sample would take longer: slow machines stay in time
  TurnLimits turns;
};

// `maths` is the device's and has been started. Takes device memory for three matrices of most_size in fp32.
class GemmProbe {
 public:
  GemmProbe(Device& device, Maths& maths, const GemmLimits& limits);
  GemmRate measure(DType dtype);

 private:
  double product_seconds(DType dtype, int64_t size);
  // Of several: one that another program has delayed must not end the growth.
  double shortest_seconds(DType dtype, int64_t size);

  Device& device_;
  Maths& maths_;
  GemmLimits limits_;
  std::span<std::byte> memory_;
};

}  // namespace penstock
