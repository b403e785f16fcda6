// The suite over the kernels on host threads, with several sizes of a block; and what their number may not change.
#include "emulated_rig.h"
#include "kernel_checks.h"

namespace penstock {
namespace {

constexpr int kThreadCounts[] = {32, 64, 96};

KernelImplementation emulated(int threads) {
  return {"Emulated" + std::to_string(threads), [threads] { return std::make_unique<EmulatedRig>(threads); }};
}
INSTANTIATE_TEST_SUITE_P(Kernels, KernelSuite, testing::Values(emulated(32), emulated(64), emulated(96)),
                         implementation_name);

// Runs `work` with each number of threads; it returns what must not depend on it.
template <class Work>
void expect_same_for_all_threads(const Work& work) {
  std::vector<float> first;
  for (const int threads : kThreadCounts) {
    EmulatedRig rig(threads);
    const std::vector<float> results = work(rig);
    if (first.empty()) first = results;
    expect_same_bits(results, first, "result");
  }
}

void append(std::vector<float>& results, const RigValues& values) {
  const std::vector<float> more = values.values();
  results.insert(results.end(), more.begin(), more.end());
}

constexpr DType kBf16 = DType::kBFloat16, kFp32 = DType::kFloat32;

TEST(EmulatedKernels, ThreadsDoNotChangeColumnSums) {
  expect_same_for_all_threads([](KernelRig& rig) {
    std::vector<float> results;
    for (const DType dtype : {kFp32, kBf16}) {
      const RigValues values(rig, dtype, random_floats(dtype, 333 * 77, 30)), sums(rig, kFp32, 70);
      rig.kernels().add_column_sums(dtype, {values.data(), 333, 77, 7, 70, sums.floats(), false});
      append(results, sums);
    }
    return results;
  });
}

TEST(EmulatedKernels, ThreadsDoNotChangeHeadNorms) {
  expect_same_for_all_threads([](KernelRig& rig) {
    std::vector<float> results;
    for (const int64_t head_dim : {33, 64, 300}) {
      const HeadNormShape shape{37, 5 * head_dim, 3, 2, head_dim};
      const RigValues values(rig, kBf16, random_floats(kBf16, shape.rows * shape.row_elements, 31));
      const RigValues gradient(rig, kBf16, random_floats(kBf16, shape.rows * shape.row_elements, 32));
      const RigValues weight(rig, kFp32, random_floats(kFp32, head_dim, 33));
      const RigValues raw(rig, kBf16, shape.rows * shape.width()), rstd(rig, kFp32, shape.rows * shape.heads());
      const RigValues partials(rig, kFp32, kernel_norm_partials(shape.rows, 2 * head_dim));
      const RigValues queries(rig, kFp32, head_dim), keys(rig, kFp32, head_dim);
      rig.kernels().head_norm(
          kBf16, {shape, 1e-5f, weight.floats(), weight.floats(), values.data(), raw.data(), rstd.floats()});
      rig.kernels().head_norm_backward(
          kBf16, {shape, weight.floats(), weight.floats(), raw.data(), rstd.floats(), gradient.data(),
                  partials.floats(), queries.floats(), keys.floats(), false});
      for (const RigValues* written : {&values, &rstd, &gradient, &queries, &keys}) append(results, *written);
    }
    return results;
  });
}

// A row's own sum depends on how threads share it; the sum over rows does not.
TEST(EmulatedKernels, ThreadsDoNotChangeARowNormsWeightGradient) {
  expect_same_for_all_threads([](KernelRig& rig) {
    constexpr int64_t kRows = 37, kWidth = 500;
    const RigValues x(rig, kBf16, random_floats(kBf16, kRows * kWidth, 34));
    const RigValues d_normed(rig, kBf16, random_floats(kBf16, kRows * kWidth, 35));
    const RigValues weight(rig, kFp32, random_floats(kFp32, kWidth, 36)),
        rstd(rig, kFp32, std::vector<float>(kRows, 1));
    const RigValues normed(rig, kBf16, kRows * kWidth), gradient(rig, kFp32, kWidth);
    const RigValues partials(rig, kFp32, kernel_norm_partials(kRows, kWidth));
    rig.kernels().rms_norm_backward(
        kBf16, {kRows, kWidth, x.data(), weight.floats(), rstd.floats(), d_normed.data(), nullptr, nullptr,
                normed.data(), partials.floats(), gradient.floats(), false});
    std::vector<float> results;
    append(results, normed);
    append(results, gradient);
    return results;
  });
}

}  // namespace
}  // namespace penstock
