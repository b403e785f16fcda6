#include "app/probe/gemm_rate.h"

#include <algorithm>
#include <array>
#include <functional>

#include "core/bytes.h"

namespace penstock {
namespace {

// A slow path (bf16 without hardware for it) does some 0.5 GFLOP/s: 33 MFLOP take it 0.07 s.
constexpr int64_t kSmallestSize = 256;

double product_flops(int64_t size) {
  const auto n = static_cast<double>(size);
  return 2 * n * n * n;
}

}  // namespace

GemmProbe::GemmProbe(Device& device, Maths& maths, const GemmLimits& limits)
    : device_(device), maths_(maths), limits_(limits) {
  const auto size = static_cast<uint64_t>(limits_.most_size);
  memory_ = device_.allocate("probe: matrices", 3 * align_up(size * size * sizeof(float), kTensorAlignment));
}

double GemmProbe::product_seconds(DType dtype, int64_t size) {
  const uint64_t bytes = memory_.size() / 3;
  const auto matrix = [&](uint64_t index) { return MatrixView{&memory_[index * bytes], size, size}; };
  device_.synchronize_all();
  return seconds_of([&] {
    device_.launch(LaneKind::kCompute,
                   [&] { maths_.run([&] { maths_.linear(dtype, matrix(0), matrix(1), matrix(2)); }); });
    device_.synchronize_all();
  });
}

double GemmProbe::shortest_seconds(DType dtype, int64_t size) {
  constexpr int kMostTries = 16;
  const double end = now_seconds() + limits_.sample_seconds / 2;
  double shortest = product_seconds(dtype, size);
  for (int i = 1; i < kMostTries && now_seconds() < end; ++i) {
    shortest = std::min(shortest, product_seconds(dtype, size));
  }
  return shortest;
}

GemmRate GemmProbe::measure(DType dtype) {
  // Small values of either type that are not zero: 0x3c3c is 0.0115 in bf16, 0x3c3c3c3c the same in fp32.
  device_.fill(LaneKind::kCompute, memory_, std::byte{0x3c});
  int64_t size = std::min(kSmallestSize, limits_.most_size);
  product_seconds(dtype, size);  // LibTorch's first call makes its handles and threads
  while (2 * size <= limits_.most_size && 8 * shortest_seconds(dtype, size) < limits_.sample_seconds) size *= 2;
  const std::array<std::function<double()>, 1> cases = {[&] { return product_seconds(dtype, size); }};
  const double typical = medians_by_turns(cases, limits_.turns).front();
  return {.dtype = dtype, .size = size, .tflops = product_flops(size) / typical * 1e-12};
}

}  // namespace penstock
