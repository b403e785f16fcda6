// Planned buffers for the decoder's tests, and tensors in and out of them.
#pragma once

#include "reference_decoder.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "core/bytes.h"
#include "core/dtype.h"
#include "core/random.h"

namespace penstock {

// Bytes on a 256-byte border with a pattern on both sides that must survive. The bytes start as NaN patterns.
class GuardedBytes {
 public:
  explicit GuardedBytes(uint64_t bytes) : bytes_(bytes), storage_(bytes + 3 * kTensorAlignment, std::byte{0xff}) {
    const uint64_t place = reinterpret_cast<uintptr_t>(storage_.data());
    skipped_ = align_up(place + kTensorAlignment, kTensorAlignment) - place;
  }
  ~GuardedBytes() {
    for (uint64_t i = 0; i < storage_.size(); ++i) {
      if (i >= skipped_ && i < skipped_ + bytes_) continue;
      if (storage_[i] == std::byte{0xff}) continue;
      ADD_FAILURE() << "byte " << static_cast<int64_t>(i - skipped_) << " outside of " << bytes_ << " was written";
      return;
    }
  }
  GuardedBytes(GuardedBytes&&) = default;

  std::span<std::byte> span() { return {storage_.data() + skipped_, bytes_}; }
  template <typename T>
  std::span<T> as() {
    return {reinterpret_cast<T*>(span().data()), bytes_ / sizeof(T)};
  }

 private:
  uint64_t bytes_;
  std::vector<std::byte> storage_;
  uint64_t skipped_;
};

inline at::ScalarType at_type(DType dtype) { return dtype == DType::kFloat32 ? at::kFloat : at::kBFloat16; }

inline at::Tensor random_tensor(uint64_t seed, uint64_t stream, at::IntArrayRef shape, double scale) {
  at::Tensor values = at::empty(shape, at::kFloat);
  const CounterRandom random(seed, stream);
  for (int64_t i = 0; i < values.numel(); ++i) {
    values.data_ptr<float>()[i] = static_cast<float>(scale) * random.normal(static_cast<uint64_t>(i));
  }
  return values;
}

// A tensor's values as `dtype`, in planned bytes; and back, in double.
inline GuardedBytes planned(const at::Tensor& values, DType dtype) {
  const at::Tensor cast = values.detach().to(at_type(dtype)).contiguous();
  GuardedBytes bytes(static_cast<uint64_t>(cast.nbytes()));
  std::memcpy(bytes.span().data(), cast.const_data_ptr(), cast.nbytes());
  return bytes;
}
inline at::Tensor values_of(GuardedBytes& bytes, DType dtype, at::IntArrayRef shape) {
  return at::from_blob(bytes.span().data(), shape, at_type(dtype)).to(at::kDouble);
}

inline double relative_error(const at::Tensor& actual, const at::Tensor& expected) {
  const double norm = expected.detach().norm().item<double>();
  const double error = (actual.detach() - expected.detach()).norm().item<double>();
  return norm == 0 ? error : error / norm;
}

}  // namespace penstock
