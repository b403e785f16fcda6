// One suite for every implementation of KernelSet: the emulation here, the card in tests/cuda. Each kernel is held
// against arithmetic of the test's own, in double.
// An implementation instantiates KernelSuite with how to make one; the tests see nothing else.
#pragma once

#include "kernel_rig.h"

#include <bit>
#include <cstring>
#include <functional>
#include <memory>

#include "core/dtype.h"

namespace penstock {

struct KernelImplementation {
  std::string name;
  std::function<std::unique_ptr<KernelRig>()> make;  // null: it cannot run here, which the test says aloud
};

class KernelSuite : public testing::TestWithParam<KernelImplementation> {
 protected:
  void SetUp() override {
    rig_ = GetParam().make();
    if (rig_ == nullptr) GTEST_SKIP() << "no CUDA device: this GPU test was not run";
  }
  KernelRig& rig() { return *rig_; }
  KernelSet& kernels() { return rig_->kernels(); }

 private:
  std::unique_ptr<KernelRig> rig_;
};

inline std::string implementation_name(const testing::TestParamInfo<KernelImplementation>& info) {
  return info.param.name;
}

inline constexpr uint64_t kKernelSeed = 20251107;

inline float as_stored(DType dtype, float value) { return static_cast<float>(rounded_to(dtype, value)); }

// Normal values that `dtype` can hold.
inline std::vector<float> random_floats(DType dtype, int64_t count, uint64_t stream) {
  const CounterRandom random(kKernelSeed, stream);
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) values[i] = as_stored(dtype, random.normal(i));
  return values;
}

// Values in a rig's memory, with a pattern on both sides that must survive; `offset` elements off a 64-byte border.
class RigValues {
 public:
  RigValues(KernelRig& rig, DType dtype, const std::vector<float>& values, int64_t offset = 0)
      : rig_(rig), dtype_(dtype), count_(values.size()), first_(kGuard + static_cast<size_t>(offset)) {
    std::vector<std::byte> image((first_ + count_ + kGuard) * dtype_bytes(dtype), std::byte{0xff});
    for (size_t i = 0; i < count_; ++i) put(image, first_ + i, values[i]);
    bytes_ = image.size();
    memory_ = static_cast<std::byte*>(rig.put_bytes(image));
  }
  // NaNs to begin with.
  RigValues(KernelRig& rig, DType dtype, int64_t count, int64_t offset = 0)
      : RigValues(rig, dtype, std::vector<float>(static_cast<size_t>(count), NAN), offset) {}
  ~RigValues() {
    std::vector<std::byte> seen(bytes_);
    rig_.get_bytes(memory_, seen);
    const uint64_t begin = first_ * dtype_bytes(dtype_), end = begin + count_ * dtype_bytes(dtype_);
    for (uint64_t i = 0; i < seen.size(); ++i) {
      if ((i >= begin && i < end) || seen[i] == std::byte{0xff}) continue;
      ADD_FAILURE() << "byte " << static_cast<int64_t>(i - begin) << " outside of " << end - begin << " was written";
      return;
    }
  }
  RigValues(const RigValues&) = delete;
  RigValues& operator=(const RigValues&) = delete;

  void* data() const { return memory_ + first_ * dtype_bytes(dtype_); }
  float* floats() const { return static_cast<float*>(data()); }

  std::vector<float> values() const {
    const std::vector<double> stored = rig_.get(dtype_, data(), count_);
    return {stored.begin(), stored.end()};
  }

 private:
  static constexpr size_t kGuard = 128;  // a multiple of 64 bytes: the border's alignment stays

  void put(std::vector<std::byte>& image, size_t at, float value) const {
    const bf16_bits bits = bf16_from_float(value);
    if (dtype_ == DType::kFloat32)
      std::memcpy(image.data() + at * sizeof value, &value, sizeof value);
    else
      std::memcpy(image.data() + at * sizeof bits, &bits, sizeof bits);
  }

  KernelRig& rig_;
  DType dtype_;
  size_t count_, first_;
  uint64_t bytes_ = 0;
  std::byte* memory_ = nullptr;
};

}  // namespace penstock
