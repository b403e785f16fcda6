// Casts and gradient accumulation: every instruction set and length against the scalar definitions, in either
// floating-point mode.
#include <gtest/gtest.h>

#include <thread>

#include "core/float_mode.h"
#include "layer_state.h"
#include "optim/cast_kernels.h"
#include "optim/gradient_accumulation.h"

namespace penstock {
namespace {

constexpr uint64_t kSeed = 1414;

// Every bf16 with the low halves around each decision, so denormals, infinities and NaNs of every kind.
std::vector<float> all_kinds() {
  std::vector<float> values;
  for (uint32_t high = 0; high < 0x10000; ++high) {
    for (const uint32_t low : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      values.push_back(std::bit_cast<float>(high << 16 | low));
    }
  }
  return values;
}

// Runs `check` as it is and in a thread that flushes denormals.
template <typename Check>
void in_either_mode(const Check& check) {
  check();
  std::thread flushing([&check] {
    set_flush_denormals();
    check();
  });
  flushing.join();
}

class CastSets : public testing::TestWithParam<InstructionSet> {
 protected:
  void SetUp() override {
    if (!cpu_supports(GetParam())) GTEST_SKIP() << "this CPU has no " << instruction_set_name(GetParam());
  }
};
INSTANTIATE_TEST_SUITE_P(Sets, CastSets,
                         testing::Values(InstructionSet::kBaseline, InstructionSet::kAvx2, InstructionSet::kAvx512),
                         [](const auto& suite) { return std::string(instruction_set_name(suite.param)); });

TEST_P(CastSets, EqualTheScalarCasts) {
  const std::vector<float> values = all_kinds();
  in_either_mode([&values] {
    const CastKernels kernels = cast_kernels(GetParam());
    const auto count = static_cast<int64_t>(values.size());
    std::vector<bf16_bits> narrow(values.size());
    kernels.to_bfloat16(values.data(), narrow.data(), count);
    for (size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(narrow[i], bf16_from_float(values[i])) << std::hex << std::bit_cast<uint32_t>(values[i]);
    }
    std::vector<float> wide(values.size());
    kernels.to_float(narrow.data(), wide.data(), count);
    for (size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(wide[i]), uint32_t{narrow[i]} << 16);
    }
  });
}

TEST_P(CastSets, EveryLengthAndNothingBehindIt) {
  const CastKernels kernels = cast_kernels(GetParam());
  const std::vector<float> values = random_values(kSeed, 0, 140, 1.0);
  for (int64_t count = 0; count <= 130; ++count) {
    std::vector<bf16_bits> narrow(140, 0xaaaa);
    std::vector<float> wide(140, -7.0f);
    kernels.to_bfloat16(values.data() + 3, narrow.data() + 1, count);
    kernels.to_float(narrow.data() + 1, wide.data() + 3, count);
    for (int64_t i = 0; i < count; ++i) {
      ASSERT_EQ(wide[static_cast<size_t>(i + 3)], values[static_cast<size_t>(i + 3)]) << count;
    }
    ASSERT_EQ(narrow[0], 0xaaaa);
    ASSERT_EQ(narrow[static_cast<size_t>(count + 1)], 0xaaaa);
    ASSERT_EQ(wide[2], -7.0f);
    ASSERT_EQ(wide[static_cast<size_t>(count + 3)], -7.0f);
  }
}

TEST_P(CastSets, AccumulationAddsInFp32) {
  in_either_mode([] {
    const AccumulationKernels kernels = accumulation_kernels(GetParam());
    for (int64_t count = 0; count <= 130; ++count) {
      std::vector<float> sum = random_values(kSeed, 1, 140, 1.0);
      const std::vector<float> values = random_values(kSeed, 2, 140, 1e-3);
      sum[1] = 1e-38f;
      std::vector<bf16_bits> narrow;
      std::vector<float> expected = sum;
      for (size_t i = 0; i < values.size(); ++i) {
        narrow.push_back(bf16_from_float(values[i]));
        if (i >= static_cast<size_t>(count)) continue;
        volatile float once = expected[i] + float_from_bf16(narrow[i]);  // each sum is rounded
        expected[i] = once + values[i] * 1.001f;
      }
      kernels.bfloat16(narrow.data(), sum.data(), count);
      std::vector<float> wide = values;
      for (float& value : wide) value *= 1.001f;
      kernels.float32(wide.data(), sum.data(), count);
      ASSERT_EQ(first_difference(sum, expected), -1) << count << " elements, seed " << kSeed;
    }
  });
}

TEST(Casts, SpansOfTheWidestSet) {
  const std::vector<float> values = random_values(kSeed, 3, 1000, 1.0);
  std::vector<bf16_bits> narrow(1000);
  cast_to_bfloat16(values, narrow);
  std::vector<float> sum(1000, 0.0f);
  accumulate_gradient(std::span<const bf16_bits>(narrow), sum);
  accumulate_gradient(std::span<const float>(values), sum);
  std::vector<float> wide(1000);
  cast_to_float(narrow, wide);
  for (size_t i = 0; i < 1000; ++i) {
    ASSERT_EQ(wide[i], values[i]);  // random_values are bf16
    ASSERT_EQ(sum[i], 2 * values[i]);
  }
  EXPECT_DEATH(cast_to_float(narrow, std::span(wide).first(999)), "from.size");
  EXPECT_DEATH(accumulate_gradient(std::span<const float>(values), std::span(sum).first(999)), "values.size");
}

}  // namespace
}  // namespace penstock
