// The suite of all kernels on a card, and the card against the same kernels on host threads, to the bit.
#include "kernel_suite.h"

#include <cuda_runtime_api.h>

#include <stdexcept>

#include "core/error.h"
#include "emulated_rig.h"
#include "gpu_test.h"
#include "kernel_checks.h"
#include "model/cuda/cuda_kernel_set.h"

namespace penstock {
namespace {

void check(cudaError_t status) {
  if (status != cudaSuccess) throw std::runtime_error(cudaGetErrorString(status));
}

class CudaRig final : public KernelRig {
 public:
  CudaRig() {
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    kernels_ = make_cuda_kernel_set(stream_);
  }
  ~CudaRig() override {
    for (void* piece : pieces_) cudaFree(piece);
    cudaStreamDestroy(stream_);
  }

  KernelSet& kernels() override { return *kernels_; }
  void* put_bytes(std::span<const std::byte> bytes) override {
    void* piece = nullptr;
    check(cudaMalloc(&piece, bytes.size()));
    pieces_.push_back(piece);
    check(cudaMemcpyAsync(piece, bytes.data(), bytes.size(), cudaMemcpyHostToDevice, stream_));
    check(cudaStreamSynchronize(stream_));
    return piece;
  }
  void get_bytes(const void* from, std::span<std::byte> to) override {
    check(cudaMemcpyAsync(to.data(), from, to.size(), cudaMemcpyDeviceToHost, stream_));
    check(cudaStreamSynchronize(stream_));
  }

 private:
  cudaStream_t stream_ = nullptr;
  std::unique_ptr<KernelSet> kernels_;
  std::vector<void*> pieces_;
};

std::unique_ptr<KernelRig> cuda_rig() { return gpu_is_there() ? std::make_unique<CudaRig>() : nullptr; }
INSTANTIATE_TEST_SUITE_P(Card, KernelSuite, testing::Values(KernelImplementation{"Cuda", cuda_rig}),
                         implementation_name);

// Sums depend on the number of threads, so the emulation gets the card's. Kernels that call exp, log, sin or cos are
// left out: the two libraries' last digits differ.
std::vector<float> norms_on(KernelRig& rig, DType dtype) {
  constexpr int64_t kRows = 37, kWidth = 5000;
  constexpr DType kFp32 = DType::kFloat32;
  const RigValues x(rig, dtype, random_floats(dtype, kRows * kWidth, 40));
  const RigValues gradient(rig, dtype, random_floats(dtype, kRows * kWidth, 41));
  const RigValues weight(rig, kFp32, random_floats(kFp32, kWidth, 42)), rstd(rig, kFp32, kRows);
  const RigValues normed(rig, dtype, kRows * kWidth), d_x(rig, dtype, kRows * kWidth), d_weight(rig, kFp32, kWidth);
  const RigValues partials(rig, kFp32, kernel_norm_partials(kRows, kWidth));
  rig.kernels().rms_norm(dtype, {kRows, kWidth, 1e-5f, x.data(), weight.floats(), normed.data(), rstd.floats()});
  rig.kernels().rms_norm_backward(
      dtype, {kRows, kWidth, x.data(), weight.floats(), rstd.floats(), gradient.data(), normed.data(), d_x.data(),
              nullptr, partials.floats(), d_weight.floats(), false});
  const HeadNormShape heads{kRows, kWidth, 20, 5, 200};
  const RigValues raw(rig, dtype, kRows * kWidth), head_rstd(rig, kFp32, kRows * heads.heads());
  const RigValues d_queries(rig, kFp32, heads.head_dim), d_keys(rig, kFp32, heads.head_dim);
  rig.kernels().head_norm(
      dtype, {heads, 1e-5f, weight.floats(), weight.floats() + 200, x.data(), raw.data(), head_rstd.floats()});
  rig.kernels().head_norm_backward(
      dtype, {heads, weight.floats(), weight.floats() + 200, raw.data(), head_rstd.floats(), gradient.data(),
              partials.floats(), d_queries.floats(), d_keys.floats(), false});
  const RigValues sums(rig, kFp32, kWidth);
  rig.kernels().add_column_sums(dtype, {gradient.data(), kRows, kWidth, 0, kWidth, sums.floats(), false});
  std::vector<float> results;
  for (const RigValues* written :
       {&normed, &rstd, &d_x, &d_weight, &x, &head_rstd, &gradient, &d_queries, &d_keys, &sums}) {
    const std::vector<float> values = written->values();
    results.insert(results.end(), values.begin(), values.end());
  }
  return results;
}

TEST(CudaKernels, EqualTheirEmulationToTheBit) {
  PENSTOCK_REQUIRE_GPU();
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    CudaRig card;
    EmulatedRig host_threads(256);
    expect_same_bits(norms_on(card, dtype), norms_on(host_threads, dtype), dtype_name(dtype).data());
  }
}

// A launch that the runtime refuses is an error of the device, and stays none of the next launch.
TEST(CudaKernels, ReportWhatTheRuntimeRefuses) {
  PENSTOCK_REQUIRE_GPU();
  CudaRig rig;
  const RigValues values(rig, DType::kFloat32, 4);
  EXPECT_THROW(rig.kernels().copy(nullptr, values.data(), 16), Error);
  EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess);
  rig.kernels().clear(values.data(), 16);
  rig.kernels().accumulate(DType::kFloat32, values.data(), values.floats(), true, 4);
  EXPECT_EQ(values.values(), std::vector<float>(4, 0.0f));
}

}  // namespace
}  // namespace penstock
