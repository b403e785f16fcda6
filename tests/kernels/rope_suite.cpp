// RoPE's kernels against its formula in double.
#include "kernel_suite.h"

namespace penstock {
namespace {

// cos and sin of the angle that fp32 gives, to two units of fp32.
void check_rope_angles(KernelRig& rig, int64_t tokens, int64_t half, float scale) {
  SCOPED_TRACE(std::to_string(tokens) + " tokens of " + std::to_string(half) + " angles");
  constexpr int32_t kMostPosition = 1 << 20;
  RopeAngleRows rows{tokens, half};
  std::vector<int32_t> positions;
  for (int64_t token = 0; token < tokens; ++token) {
    positions.push_back(static_cast<int32_t>(CounterRandom(3, 1).below(static_cast<uint64_t>(token), kMostPosition)));
  }
  positions.back() = kMostPosition;
  for (int64_t i = 0; i < half; ++i) {
    rows.inverse[i] = static_cast<float>(std::pow(10000.0, -static_cast<double>(i) / static_cast<double>(half)));
  }
  const auto count = static_cast<size_t>(tokens * half);
  rows.positions = rig.put(positions);
  rows.angles = {rig.put(std::vector<float>(count)), rig.put(std::vector<float>(count))};
  rows.scale = scale;
  rig.kernels().rope_angles(rows);

  const std::vector<float> cosines = rig.get(rows.angles.cosines, count), sines = rig.get(rows.angles.sines, count);
  for (size_t i = 0; i < count; ++i) {
    const float angle =
        static_cast<float>(positions[i / static_cast<size_t>(half)]) * rows.inverse[i % static_cast<size_t>(half)];
    EXPECT_NEAR(cosines[i], std::cos(static_cast<double>(angle)) * scale, 2.5e-7 * scale) << "angle " << angle;
    EXPECT_NEAR(sines[i], std::sin(static_cast<double>(angle)) * scale, 2.5e-7 * scale) << "angle " << angle;
  }
}

struct RopeCase {
  int64_t rows, row_elements, heads, head_dim;
};
constexpr RopeCase kRopeCases[] = {
    {1, 2, 1, 2},        {3, 14, 2, 6},          {5, 4 * 32, 4, 32}, {2, 7 * 64, 5, 64}, {3, 261, 2, 128},
    {40, 3 * 16, 2, 16}, {4, 11 * 128, 10, 128}, {2, 3 * 66, 3, 66}, {300, 10, 1, 8},
};

void check_rope(KernelRig& rig, DType dtype, const RopeCase& c, bool backward) {
  SCOPED_TRACE(std::string(dtype_name(dtype)) + ", heads of " + std::to_string(c.head_dim) + " in rows of " +
               std::to_string(c.row_elements) + (backward ? ", back" : ""));
  const int64_t half = c.head_dim / 2;
  const std::vector<double> before = random_values(dtype, 5, c.rows * c.row_elements);
  std::vector<float> cosines, sines;
  for (int64_t i = 0; i < c.rows * half; ++i) {
    const float angle = 10 * CounterRandom(6, 1).uniform(static_cast<uint64_t>(i));
    cosines.push_back(1.25f * std::cos(angle));
    sines.push_back(1.25f * std::sin(angle));
  }
  void* values = rig.put(dtype, before);
  rig.kernels().rope(dtype, RopeRows{c.rows, c.row_elements, c.heads, c.head_dim, values,
                                     RopeAngles{rig.put(cosines), rig.put(sines)}, backward});

  std::vector<double> want = before;
  for (int64_t row = 0; row < c.rows; ++row) {
    for (int64_t head = 0; head < c.heads; ++head) {
      for (int64_t i = 0; i < half; ++i) {
        const auto low = static_cast<size_t>(row * c.row_elements + head * c.head_dim + i);
        const size_t high = low + static_cast<size_t>(half), angle = static_cast<size_t>(row * half + i);
        const double cosine = cosines[angle], sine = backward ? -sines[angle] : sines[angle];
        want[low] = before[low] * cosine - before[high] * sine;
        want[high] = before[high] * cosine + before[low] * sine;
      }
    }
  }
  const std::vector<double> got = rig.get(dtype, values, want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    const bool is_rotated = static_cast<int64_t>(i) % c.row_elements < c.heads * c.head_dim;
    if (is_rotated) {
      expect_near(dtype, got[i], want[i], 4);
    } else {
      EXPECT_EQ(got[i], before[i]);
    }
  }
}

void check_every_rope(KernelRig& rig) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const RopeCase& rope_case : kRopeCases) {
      for (const bool backward : {false, true}) check_rope(rig, dtype, rope_case, backward);
    }
  }
}
void check_every_rope_angles(KernelRig& rig) {
  check_rope_angles(rig, 1, 1, 1);
  check_rope_angles(rig, 7, 33, 0.75f);
  check_rope_angles(rig, 130, 64, 1);
  check_rope_angles(rig, 3, kMostHalfHeadDim, 1.5f);
}

TEST_P(KernelSuite, RopeRotatesTheFirstHeadsBothWays) { check_every_rope(rig()); }
TEST_P(KernelSuite, RopeAnglesAreExactUpToAMillionPositions) { check_every_rope_angles(rig()); }

}  // namespace
}  // namespace penstock
