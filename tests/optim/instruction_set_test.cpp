// Every instruction set gives the bits of the baseline loop, at every length and at any alignment.
#include <gtest/gtest.h>

#include "layer_state.h"
#include "optim/adamw_kernels.h"
#include "optim/norm_kernels.h"

namespace penstock {
namespace {

constexpr uint64_t kSeed = 77;
constexpr AdamWScalars kScalars{.gradient_scale = 0.83f,
                                .decay_factor = 0.9999f,
                                .one_minus_beta1 = 0.1f,
                                .beta2 = 0.95f,
                                .one_minus_beta2 = 0.05f,
                                .bias2_sqrt = 0.31f,
                                .eps = 1e-8f,
                                .step_size = 1.7e-3f};

struct Arrays {
  std::vector<uint16_t> hi, lo, half_gradient;
  std::vector<float> master, m, v, gradient;

  explicit Arrays(size_t count) : gradient(random_values(kSeed, 0, count, 3.0)) {
    master = random_values(kSeed, 1, count, 1.0);
    m = random_values(kSeed, 2, count, 1.0);
    v = random_values(kSeed, 3, count, 1.0);
    for (size_t i = 0; i < count; ++i) {
      v[i] = std::abs(v[i]) * (i % 5 == 0 ? 1e-38f : 1.0f);  // denormals too
      master[i] *= 1.0f + 1e-6f * static_cast<float>(i % 11);
      hi.push_back(split_master(master[i]).hi);
      lo.push_back(split_master(master[i]).lo);
      half_gradient.push_back(bf16_from_float(gradient[i]));
    }
  }
  bool operator==(const Arrays&) const = default;
};

class InstructionSets : public testing::TestWithParam<InstructionSet> {
 protected:
  void SetUp() override {
    if (!cpu_supports(GetParam())) GTEST_SKIP() << "this CPU has no " << instruction_set_name(GetParam());
  }
};

INSTANTIATE_TEST_SUITE_P(Sets, InstructionSets, testing::Values(InstructionSet::kAvx2, InstructionSet::kAvx512),
                         [](const auto& suite) { return std::string(instruction_set_name(suite.param)); });

// Both formats with both types of gradient.
bool update_all(InstructionSet set, Arrays& a, size_t at, int64_t count) {
  const auto narrow = adamw_kernels<bf16_bits>(set);
  const auto wide = adamw_kernels<float>(set);
  bool finite = narrow.exact(&a.hi[at], &a.lo[at], &a.m[at], &a.v[at], &a.half_gradient[at], count, kScalars);
  finite &= wide.exact(&a.hi[at], &a.lo[at], &a.m[at], &a.v[at], &a.gradient[at], count, kScalars);
  finite &= wide.float32(&a.master[at], &a.m[at], &a.v[at], &a.gradient[at], count, kScalars);
  finite &= narrow.float32(&a.master[at], &a.m[at], &a.v[at], &a.half_gradient[at], count, kScalars);
  return finite;
}

TEST_P(InstructionSets, AdamWEqualsBaseline) {
  for (int64_t count = 0; count <= 130; ++count) {
    Arrays expected(140), actual(140);
    const size_t at = 3;  // not a vector border
    for (int update = 0; update < 3; ++update) {
      EXPECT_TRUE(update_all(InstructionSet::kBaseline, expected, at, count));
      EXPECT_TRUE(update_all(GetParam(), actual, at, count));
    }
    ASSERT_TRUE(actual == expected) << count << " elements, seed " << kSeed;
  }
}

TEST_P(InstructionSets, AdamWLongRunEqualsBaseline) {
  Arrays expected(20011), actual(20011);
  for (int update = 0; update < 10; ++update) {
    update_all(InstructionSet::kBaseline, expected, 0, 20011);
    update_all(GetParam(), actual, 0, 20011);
  }
  EXPECT_TRUE(actual == expected) << "seed " << kSeed;
}

TEST_P(InstructionSets, AdamWFlagsEveryPosition) {
  const auto narrow = adamw_kernels<bf16_bits>(GetParam());
  const auto wide = adamw_kernels<float>(GetParam());
  for (size_t position = 0; position < 130; ++position) {
    Arrays a(130);
    a.half_gradient[position] = 0x7f80;
    a.gradient[position] = std::bit_cast<float>(0x7f800000u);
    EXPECT_FALSE(narrow.exact(a.hi.data(), a.lo.data(), a.m.data(), a.v.data(), a.half_gradient.data(), 130, kScalars))
        << position;
    a = Arrays(130);
    a.gradient[position] = std::bit_cast<float>(0x7f800000u);
    EXPECT_FALSE(wide.float32(a.master.data(), a.m.data(), a.v.data(), a.gradient.data(), 130, kScalars)) << position;
  }
}

TEST_P(InstructionSets, NormEqualsBaseline) {
  const NormKernels baseline = norm_kernels(InstructionSet::kBaseline);
  const NormKernels wide = norm_kernels(GetParam());
  Arrays a(600);
  for (size_t i = 200; i < 600; ++i) a.half_gradient[i] = static_cast<uint16_t>(i * 167);  // chunks of any magnitude
  for (size_t i = 200; i < 600; ++i) a.half_gradient[i] &= 0xbfff;                         // but finite
  for (int64_t begin : {0, 1, 63, 64, 70, 200, 333}) {
    for (int64_t count = 0; count <= 267; count += count < 130 ? 1 : 7) {
      NormLanes expected{}, actual{};
      EXPECT_TRUE(baseline.bfloat16(a.half_gradient.data() + begin, count, expected));
      EXPECT_TRUE(wide.bfloat16(a.half_gradient.data() + begin, count, actual));
      EXPECT_TRUE(baseline.float32(a.master.data() + begin, count, expected));
      EXPECT_TRUE(wide.float32(a.master.data() + begin, count, actual));
      ASSERT_EQ(std::memcmp(expected.data(), actual.data(), sizeof(expected)), 0) << begin << ", " << count;
    }
  }
}

TEST_P(InstructionSets, NormFlagsEveryPosition) {
  const NormKernels kernels = norm_kernels(GetParam());
  for (size_t position = 0; position < 200; ++position) {
    Arrays a(200);
    a.half_gradient[position] = 0xffc0;
    a.gradient[position] = std::bit_cast<float>(0x7f800000u);
    NormLanes lanes{};
    EXPECT_FALSE(kernels.bfloat16(a.half_gradient.data(), 200, lanes)) << position;
    EXPECT_FALSE(kernels.float32(a.gradient.data(), 200, lanes)) << position;
  }
}

}  // namespace
}  // namespace penstock
