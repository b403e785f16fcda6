// The gate's kernels against its formula in double.
#include <array>

#include "kernel_suite.h"

namespace penstock {
namespace {

constexpr int64_t kSwigluRows[] = {1, 5}, kSwigluWidths[] = {1, 3, 8, 33, 127, 256, 1000};

struct SwigluValues {
  SwigluValues(DType dtype, int64_t rows, int64_t width)
      : gate_up(random_values(dtype, 11, rows * 2 * width, 3)), d_activated(random_values(dtype, 12, rows * width)) {
    // Far on either side a sigmoid is 0 or 1, and nothing may become NaN.
    const std::array<float, 6> extremes = {-1000, 1000, -88, 88, -104, 0};
    for (size_t i = 0; i < extremes.size() && static_cast<int64_t>(i) < width; ++i) {
      gate_up[i] = rounded_to(dtype, extremes[i]);
    }
  }
  std::vector<double> gate_up, d_activated;
};

struct SwigluElement {
  SwigluElement(const SwigluValues& values, int64_t width, size_t i) {
    const size_t columns = static_cast<size_t>(width), at = i / columns * 2 * columns + i % columns;
    gate = values.gate_up[at];
    up = values.gate_up[at + columns];
    d = values.d_activated[i];
    sigmoid = 1 / (1 + std::exp(-gate));
    gate_place = at;
    up_place = at + columns;
  }
  double activated() const { return gate * sigmoid * up; }
  double d_up() const { return d * gate * sigmoid; }
  double d_gate() const { return d * up * sigmoid * (1 + gate * (1 - sigmoid)); }

  double gate, up, d, sigmoid;
  size_t gate_place, up_place;
};

void check_swiglu(KernelRig& rig, DType dtype, int64_t rows, int64_t width) {
  SCOPED_TRACE(std::string(dtype_name(dtype)) + ", width " + std::to_string(width));
  const SwigluValues values(dtype, rows, width);
  const auto count = static_cast<size_t>(rows * width);
  void* activated = rig.put(dtype, std::vector<double>(count, NAN));
  rig.kernels().swiglu(dtype, SwigluForwardRows{rows, width, rig.put(dtype, values.gate_up), activated});
  const std::vector<double> got = rig.get(dtype, activated, count);
  for (size_t i = 0; i < count; ++i) {
    const SwigluElement element(values, width, i);
    expect_near(dtype, got[i], element.activated(), std::fabs(element.activated()));
  }
}

void check_swiglu_backward(KernelRig& rig, DType dtype, int64_t rows, int64_t width, bool in_place) {
  SCOPED_TRACE(std::string(dtype_name(dtype)) + ", width " + std::to_string(width) + (in_place ? ", in place" : ""));
  const SwigluValues values(dtype, rows, width);
  const auto count = static_cast<size_t>(rows * width);
  void* d_activated = rig.put(dtype, values.d_activated);
  void* activated = in_place ? d_activated : rig.put(dtype, std::vector<double>(count, NAN));
  void* d_gate_up = rig.put(dtype, std::vector<double>(2 * count, NAN));
  rig.kernels().swiglu_backward(
      dtype, SwigluBackwardRows{rows, width, rig.put(dtype, values.gate_up), d_activated, activated, d_gate_up});
  const std::vector<double> got = rig.get(dtype, activated, count), gradient = rig.get(dtype, d_gate_up, 2 * count);
  for (size_t i = 0; i < count; ++i) {
    const SwigluElement e(values, width, i);
    expect_near(dtype, got[i], e.activated(), std::fabs(e.activated()));
    expect_near(dtype, gradient[e.up_place], e.d_up(), std::fabs(e.d_up()));
    // 1 + g (1 - s) loses digits around its zero.
    expect_near(dtype, gradient[e.gate_place], e.d_gate(), std::fabs(e.d * e.up));
  }
}

void check_every_swiglu(KernelRig& rig) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const int64_t rows : kSwigluRows) {
      for (const int64_t width : kSwigluWidths) {
        check_swiglu(rig, dtype, rows, width);
        for (const bool in_place : {false, true}) check_swiglu_backward(rig, dtype, rows, width, in_place);
      }
    }
  }
}

TEST_P(KernelSuite, SwigluEqualsItsFormulaBothWays) { check_every_swiglu(rig()); }

}  // namespace
}  // namespace penstock
