// CudaMaths without a card: over emulated kernels and emulated ATen ops. GEMMs against double, kernels against the
// host's arithmetic, function by function; its errors and settings.
#include "decoder_run.h"

#include <ATen/Context.h>
#include <c10/util/Exception.h>

#include <cstdlib>
#include <functional>

#include "expect_error.h"
#include "model/cuda/emulated_kernel_set.h"
#include "model/cuda_maths.h"
#include "model/cuda_numerics.h"

namespace penstock {
namespace {

constexpr uint64_t kSeed = 20260120;
constexpr int64_t kRows = 37, kWidth = 24;

CudaMaths emulated_maths() { return CudaMaths(c10::kCPU, nullptr, make_emulated_kernel_set(32)); }

GuardedBytes bytes_of(DType dtype, int64_t elements) {
  return GuardedBytes(static_cast<uint64_t>(elements) * dtype_bytes(dtype));
}
GuardedBytes values(uint64_t stream, DType dtype, int64_t elements) {
  return planned(random_tensor(kSeed, stream, {elements}, 1.0), dtype);
}
float* floats(GuardedBytes& bytes) { return bytes.as<float>().data(); }

// --- GEMMs

TEST(CudaMathsProducts, EqualDouble) {
  CudaMaths maths = emulated_maths();
  const int64_t n = 29, k = 40, m = 18;
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    const double tolerance = dtype == DType::kFloat32 ? 1e-6 : 3e-3;
    GuardedBytes x = values(1, dtype, n * k), w = values(2, dtype, m * k), d_y = values(3, dtype, n * m);
    GuardedBytes bias = values(4, dtype, m), residual = values(5, dtype, n * m);
    GuardedBytes y = bytes_of(dtype, n * m), d_x = bytes_of(dtype, n * k);
    const MatrixView x_view = {x.span().data(), n, k}, w_view = {w.span().data(), m, k};
    const MatrixView y_view = {y.span().data(), n, m}, d_y_view = {d_y.span().data(), n, m};
    const MatrixView residual_view = {residual.span().data(), n, m};
    const at::Tensor wide_x = values_of(x, dtype, {n, k}), wide_w = values_of(w, dtype, {m, k});
    const at::Tensor wide_d_y = values_of(d_y, dtype, {n, m}), product = at::mm(wide_x, wide_w.t());
    const auto expect_y = [&](const at::Tensor& expected, const std::function<void()>& call) {
      maths.run(call);
      EXPECT_LE(relative_error(values_of(y, dtype, {n, m}), expected), tolerance);
    };
    expect_y(product, [&] { maths.linear(dtype, x_view, w_view, y_view); });
    expect_y(product + values_of(residual, dtype, {n, m}),
             [&] { maths.linear_add(dtype, residual_view, x_view, w_view, y_view); });
    expect_y(product + values_of(bias, dtype, {m}),
             [&] { maths.linear_bias(dtype, x_view, w_view, bias.span().data(), y_view); });
    const at::Tensor before = values_of(y, dtype, {n, m}).clone();
    expect_y(before + values_of(residual, dtype, {n, m}), [&] { maths.add_rows(dtype, residual_view, y_view); });
    maths.run([&] { maths.linear_input_gradient(dtype, d_y_view, w_view, {d_x.span().data(), n, k}); });
    EXPECT_LE(relative_error(values_of(d_x, dtype, {n, k}), at::mm(wide_d_y, wide_w)), tolerance);

    // In fp32 whatever the operands' type, and no rounding between micro-batches.
    GuardedBytes d_w = bytes_of(DType::kFloat32, m * k);
    const at::Tensor gradient = at::mm(wide_d_y.t(), wide_x);
    for (int micro_batch = 0; micro_batch < 3; ++micro_batch) {
      maths.run([&] {
        maths.linear_weight_gradient(dtype, d_y_view, x_view, micro_batch > 0, {d_w.span().data(), m, k});
      });
      EXPECT_LE(relative_error(values_of(d_w, DType::kFloat32, {m, k}), gradient * (micro_batch + 1)), 1e-6);
    }
  }
}

// --- kernels: the arguments arrive as the host's functions have them

class CudaMathsKernels : public testing::TestWithParam<DType> {
 protected:
  // `call` with each arithmetic, into outputs of so many bytes that begin with the same values.
  void expect_equal(const std::function<void(Maths&, void* out)>& call, DType type, int64_t elements,
                    double tolerance) {
    GuardedBytes expected = values(99, type, elements), actual = values(99, type, elements);
    host_.run([&] { call(host_, expected.span().data()); });
    cuda_.run([&] { call(cuda_, actual.span().data()); });
    EXPECT_LE(relative_error(values_of(actual, type, {elements}), values_of(expected, type, {elements})), tolerance);
  }
  double tolerance() const { return GetParam() == DType::kFloat32 ? 1e-6 : 6e-3; }

  HostMaths host_{2};
  CudaMaths cuda_ = emulated_maths();
};

TEST_P(CudaMathsKernels, MoveAndCast) {
  const DType dtype = GetParam();
  GuardedBytes from = values(1, dtype, kRows), wide = values(1, DType::kFloat32, kRows);
  const uint64_t bytes = kRows * dtype_bytes(dtype);
  expect_equal([&](Maths& maths, void* out) { maths.clear(out, bytes - dtype_bytes(dtype)); }, dtype, kRows, 0);
  expect_equal([&](Maths& maths, void* out) { maths.copy(out, from.span().data(), bytes); }, dtype, kRows, 0);
  expect_equal([&](Maths& maths, void* out) { maths.cast(dtype, from.span().data(), DType::kFloat32, out, kRows); },
               DType::kFloat32, kRows, 0);
  expect_equal([&](Maths& maths, void* out) { maths.cast(DType::kFloat32, wide.span().data(), dtype, out, kRows); },
               dtype, kRows, 0);
  for (const bool accumulate : {false, true}) {
    expect_equal(
        [&](Maths& maths, void* out) {
          maths.accumulate(dtype, from.span().data(), static_cast<float*>(out), accumulate, kRows);
        },
        DType::kFloat32, kRows, 0);
    GuardedBytes matrix = values(2, dtype, kRows * kWidth);
    expect_equal(
        [&](Maths& maths, void* out) {
          maths.add_column_sums(dtype,
                                {matrix.span().data(), kRows, kWidth, 5, 11, static_cast<float*>(out), accumulate});
        },
        DType::kFloat32, 11, 1e-6);
  }
}

TEST_P(CudaMathsKernels, Norms) {
  const DType dtype = GetParam();
  GuardedBytes x = values(1, dtype, kRows * kWidth), weight = values(2, DType::kFloat32, kWidth);
  GuardedBytes d_normed = values(3, dtype, kRows * kWidth), d_skip = values(4, dtype, kRows * kWidth);
  GuardedBytes rstd = bytes_of(DType::kFloat32, kRows);
  GuardedBytes partials = bytes_of(DType::kFloat32, rms_norm_partials(Backend::kCuda, kRows, kWidth) +
                                                        rms_norm_partials(Backend::kHost, kRows, kWidth));
  const auto forward = [&](Maths& maths, void* out) {
    maths.rms_norm(dtype, {kRows, kWidth, 1e-5f, x.span().data(), floats(weight), out, floats(rstd)});
  };
  expect_equal(forward, dtype, kRows * kWidth, tolerance());
  GuardedBytes d_x = bytes_of(dtype, kRows * kWidth), normed = bytes_of(dtype, kRows * kWidth);
  const auto backward = [&](void* wanted_d_x, void* wanted_normed, void* gradient) {
    return RmsNormBackward{kRows,
                           kWidth,
                           x.span().data(),
                           floats(weight),
                           floats(rstd),
                           d_normed.span().data(),
                           d_skip.span().data(),
                           wanted_d_x,
                           wanted_normed,
                           floats(partials),
                           static_cast<float*>(gradient),
                           true};
  };
  expect_equal([&](Maths& maths, void* out) { maths.rms_norm_backward(dtype, backward(out, nullptr, nullptr)); }, dtype,
               kRows * kWidth, tolerance());
  expect_equal(
      [&](Maths& maths, void* out) { maths.rms_norm_backward(dtype, backward(d_x.span().data(), out, nullptr)); },
      dtype, kRows * kWidth, tolerance());
  expect_equal(
      [&](Maths& maths, void* out) { maths.rms_norm_backward(dtype, backward(d_x.span().data(), nullptr, out)); },
      DType::kFloat32, kWidth, 1e-5);
}

TEST_P(CudaMathsKernels, HeadNorms) {
  const DType dtype = GetParam();
  const HeadNormShape shape = {kRows, 7 * 8, 3, 2, 8};
  GuardedBytes query_weight = values(1, DType::kFloat32, 8), key_weight = values(2, DType::kFloat32, 8);
  GuardedBytes raw = bytes_of(dtype, kRows * shape.width()), rstd = bytes_of(DType::kFloat32, kRows * shape.heads());
  GuardedBytes partials = bytes_of(
      DType::kFloat32, head_norm_partials(Backend::kCuda, kRows, 8) + head_norm_partials(Backend::kHost, kRows, 8));
  expect_equal(
      [&](Maths& maths, void* out) {
        maths.head_norm(dtype,
                        {shape, 1e-5f, floats(query_weight), floats(key_weight), out, raw.span().data(), floats(rstd)});
      },
      dtype, kRows * shape.row_elements, tolerance());
  GuardedBytes d_values = values(3, dtype, kRows * shape.row_elements), unused = values(4, DType::kFloat32, 8);
  const auto backward = [&](void* d, void* query_gradient, void* key_gradient) {
    return HeadNormBackward{shape,
                            floats(query_weight),
                            floats(key_weight),
                            raw.span().data(),
                            floats(rstd),
                            d,
                            floats(partials),
                            static_cast<float*>(query_gradient),
                            static_cast<float*>(key_gradient),
                            true};
  };
  expect_equal([&](Maths& maths, void* out) { maths.head_norm_backward(dtype, backward(out, nullptr, nullptr)); },
               dtype, kRows * shape.row_elements, tolerance());
  for (const bool of_query : {true, false}) {
    expect_equal(
        [&](Maths& maths, void* out) {
          GuardedBytes d = values(3, dtype, kRows * shape.row_elements);
          maths.head_norm_backward(dtype, backward(d.span().data(), of_query ? out : unused.span().data(),
                                                   of_query ? unused.span().data() : out));
        },
        DType::kFloat32, 8, 1e-5);
  }
}

TEST_P(CudaMathsKernels, RotateAndGate) {
  const DType dtype = GetParam();
  std::vector<int32_t> positions(kRows);
  for (int32_t i = 0; i < kRows; ++i) positions[static_cast<size_t>(i)] = (i * 5) % 17;
  const RopeFrequencies frequencies = {{1.0f, 0.3f, 0.1f, 0.02f}, 1.25f};
  GuardedBytes cosines = bytes_of(DType::kFloat32, kRows * 4), sines = bytes_of(DType::kFloat32, kRows * 4);
  const auto angles = [&](bool want_cosines, void* out) {
    return RopeAngles{want_cosines ? static_cast<float*>(out) : floats(cosines),
                      want_cosines ? floats(sines) : static_cast<float*>(out)};
  };
  for (const bool want_cosines : {true, false}) {
    expect_equal([&](Maths& maths,
                     void* out) { maths.rope_angles(kRows, positions.data(), frequencies, angles(want_cosines, out)); },
                 DType::kFloat32, kRows * 4, 1e-6);
  }
  for (const bool is_backward : {false, true}) {
    expect_equal(
        [&](Maths& maths, void* out) {
          maths.rope_angles(kRows, positions.data(), frequencies, {floats(cosines), floats(sines)});
          maths.rope(dtype, {kRows, kWidth, 2, 8, out, {floats(cosines), floats(sines)}, is_backward});
        },
        dtype, kRows * kWidth, tolerance());
  }
  GuardedBytes gate_up = values(1, dtype, kRows * 2 * kWidth), d_activated = values(2, dtype, kRows * kWidth);
  GuardedBytes other = bytes_of(dtype, kRows * 2 * kWidth);
  const auto gate = gate_up.span().data();
  expect_equal([&](Maths& maths, void* out) { maths.swiglu(dtype, kRows, kWidth, gate, out); }, dtype, kRows * kWidth,
               tolerance());
  const auto d = d_activated.span().data();
  expect_equal(
      [&](Maths& maths, void* out) { maths.swiglu_backward(dtype, kRows, kWidth, gate, d, other.span().data(), out); },
      dtype, kRows * 2 * kWidth, tolerance());
  expect_equal(
      [&](Maths& maths, void* out) { maths.swiglu_backward(dtype, kRows, kWidth, gate, d, out, other.span().data()); },
      dtype, kRows * kWidth, tolerance());
}

TEST_P(CudaMathsKernels, Losses) {
  const DType dtype = GetParam();
  std::vector<int32_t> targets(kRows);
  for (int32_t i = 0; i < kRows; ++i) targets[static_cast<size_t>(i)] = i % 4 == 3 ? kUntrainedTarget : i % kWidth;
  GuardedBytes logits = values(1, dtype, kRows * kWidth);
  std::vector<double> losses(kRows), expected_losses;
  expect_equal(
      [&](Maths& maths, void* out) {
        maths.cross_entropy(dtype, {kRows, kWidth, targets.data(), out, losses.data(), true, 0.5f});
      },
      dtype, kRows * kWidth, tolerance());
  GuardedBytes statistics = bytes_of(DType::kFloat32, 3 * kRows);
  const LossStatistics view = {floats(statistics), floats(statistics) + kRows, floats(statistics) + 2 * kRows};
  const auto part = [&](void* values) {
    return PartialCrossEntropyRows{kRows, kWidth, 0, targets.data(), values, view};
  };
  for (Maths* maths : {static_cast<Maths*>(&host_), static_cast<Maths*>(&cuda_)}) {
    double sum = 3;
    maths->run([&] {
      maths->add_loss_statistics(dtype, part(logits.span().data()));
      maths->losses_of_statistics(kRows, targets.data(), view, losses.data());
      maths->sum_losses(losses.data(), kRows, /*accumulate=*/true, &sum);
    });
    if (expected_losses.empty()) expected_losses = losses;
    for (size_t i = 0; i < losses.size(); ++i) EXPECT_NEAR(losses[i], expected_losses[i], 1e-6) << i;
    double expected_sum = 3;
    for (const double loss : expected_losses) expected_sum += loss;
    EXPECT_NEAR(sum, expected_sum, 1e-4);
  }
  expect_equal(
      [&](Maths& maths, void* out) {
        maths.copy(out, logits.span().data(), logits.span().size());
        maths.partial_cross_entropy_gradient(dtype, part(out), 0.5f);
      },
      dtype, kRows * kWidth, tolerance());
}

INSTANTIATE_TEST_SUITE_P(Types, CudaMathsKernels, testing::Values(DType::kFloat32, DType::kBFloat16),
                         [](const auto& tested) { return std::string(dtype_name(tested.param)); });

// --- errors and settings

TEST(CudaMathsErrors, BecomeOursWithOneLine) {
  CudaMaths maths = emulated_maths();
  expect_error(ExitCode::kDoesNotFit, {"per_device_train_batch_size"},
               [&] { maths.run([] { TORCH_CHECK_WITH(OutOfMemoryError, false, "tried 2 GiB\nand advice"); }); });
  expect_error(ExitCode::kDevice, {"refused an operation on the device: no such shape"},
               [&] { maths.run([] { TORCH_CHECK(false, "no such shape"); }); });
  expect_error(ExitCode::kDevice, {"the device failed: lost"}, [&] {
    maths.run([] { throw c10::AcceleratorError({__func__, __FILE__, __LINE__}, 46, "lost\nstack"); });
  });
  expect_error(ExitCode::kDevice, {"mine"}, [&] { maths.run([] { throw Error(ExitCode::kDevice, "mine"); }); });
}

TEST(CudaNumericsSettings, KeepFp32AndForbidReducedSums) {
  at::Context& context = at::globalContext();
  set_cuda_numerics({.deterministic = true});
  EXPECT_TRUE(context.deterministicAlgorithms());
  EXPECT_FALSE(context.deterministicAlgorithmsWarnOnly());
  EXPECT_FALSE(context.deterministicFillUninitializedMemory());
  EXPECT_FALSE(context.allowTF32CuBLAS());
  EXPECT_FALSE(context.allowTF32CuDNN());
  EXPECT_EQ(context.allowBF16ReductionCuBLAS(), at::CuBLASReductionOption::DisallowReducedPrecisionAllowSplitK);
  set_cuda_numerics({});
  EXPECT_FALSE(context.deterministicAlgorithms());
}

TEST(CudaNumericsSettings, SetTheEnvironmentThatCublasReads) {
  prepare_cuda_environment();
  EXPECT_STREQ(std::getenv("CUBLAS_WORKSPACE_CONFIG"), ":4096:8");
  EXPECT_STREQ(std::getenv("NVIDIA_TF32_OVERRIDE"), "0");
  // In KiB, and not larger than cuBLAS's own, which LibTorch would warn about.
  EXPECT_EQ(std::strtoull(std::getenv("CUBLASLT_WORKSPACE_SIZE"), nullptr, 10) * kKiB, kCublasWorkspaceBytes);
}

}  // namespace
}  // namespace penstock
