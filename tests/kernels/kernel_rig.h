// A kernel set and memory for it to work on, so that one list of checks runs over either implementation.
// Elements are given and taken as doubles; what a check compares with are the values after rounding to the type.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "core/bf16.h"
#include "core/random.h"
#include "model/cuda/kernel_set.h"

namespace penstock {

class KernelRig {
 public:
  virtual ~KernelRig() = default;

  virtual KernelSet& kernels() = 0;
  // A copy in the set's memory, on a 64-byte border, that lives as long as the rig.
  virtual void* put_bytes(std::span<const std::byte> bytes) = 0;
  // After all that was enqueued before.
  virtual void get_bytes(const void* from, std::span<std::byte> to) = 0;

  template <class T>
  T* put(const std::vector<T>& values) {
    return static_cast<T*>(put_bytes(std::as_bytes(std::span(values))));
  }
  template <class T>
  std::vector<T> get(const T* from, size_t count) {
    std::vector<T> values(count);
    get_bytes(from, std::as_writable_bytes(std::span(values)));
    return values;
  }

  void* put(DType dtype, const std::vector<double>& values) {
    if (dtype == DType::kFloat32) return put(std::vector<float>(values.begin(), values.end()));
    std::vector<bf16_bits> rounded;
    for (const double value : values) rounded.push_back(bf16_from_float(static_cast<float>(value)));
    return put(rounded);
  }
  std::vector<double> get(DType dtype, const void* from, size_t count) {
    std::vector<double> values;
    if (dtype == DType::kFloat32) {
      for (const float value : get(static_cast<const float*>(from), count)) values.push_back(value);
    } else {
      for (const bf16_bits bits : get(static_cast<const bf16_bits*>(from), count)) {
        values.push_back(float_from_bf16(bits));
      }
    }
    return values;
  }
};

inline double rounded_to(DType dtype, double value) {
  const auto single = static_cast<float>(value);
  return dtype == DType::kFloat32 ? single : float_from_bf16(bf16_from_float(single));
}

// Standard normal times `scale`, as the type holds them.
inline std::vector<double> random_values(DType dtype, uint64_t seed, int64_t count, double scale = 1) {
  std::vector<double> values;
  for (int64_t i = 0; i < count; ++i) {
    values.push_back(rounded_to(dtype, scale * CounterRandom(seed, 1).normal(static_cast<uint64_t>(i))));
  }
  return values;
}

// One rounding to the type, and fp32 arithmetic on numbers up to `magnitude` before it. Numbers that fp32 holds with
// fewer digits, or not at all, count as zero.
inline void expect_near(DType dtype, double got, double want, double magnitude) {
  const double unit = dtype == DType::kFloat32 ? 0x1p-23 : 0x1p-8;
  EXPECT_NEAR(got, want, unit * std::fabs(want) + 1e-6 * magnitude + 1e-36);
}

}  // namespace penstock
