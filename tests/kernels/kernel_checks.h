// How results of kernels are compared: to the bit where the arithmetic fixes them, else within the rounding of a sum.
#pragma once

#include "kernel_suite.h"

namespace penstock {

// NaNs are alike, and zeros of either sign are not.
inline bool same_bits(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) || (std::isnan(a) && std::isnan(b));
}

inline void expect_same_bits(const std::vector<float>& actual, const std::vector<float>& expected, const char* what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (size_t i = 0; i < actual.size(); ++i) {
    ASSERT_TRUE(same_bits(actual[i], expected[i])) << what << " " << i << ": " << actual[i] << " for " << expected[i];
  }
}

// An exact value and how far the kernel's fp32 value may be from it, before it is rounded to its type.
struct Expected {
  double value, error;
};

// In bf16 that is: equal, or the neighbour where the fp32 value is at a tie.
inline void expect_within(DType dtype, const std::vector<float>& actual, const std::vector<Expected>& expected,
                          const char* what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (size_t i = 0; i < actual.size(); ++i) {
    const auto [value, error] = expected[i];
    const float low = as_stored(dtype, static_cast<float>(value - error));
    const float high = as_stored(dtype, static_cast<float>(value + error));
    ASSERT_TRUE(low <= actual[i] && actual[i] <= high)
        << what << " " << i << ": " << actual[i] << " for " << value << " +- " << error;
  }
}

}  // namespace penstock
