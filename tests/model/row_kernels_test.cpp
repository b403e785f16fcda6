// The row kernels on their own: exact edges, accuracy, and independence of the number of threads.
#include <gtest/gtest.h>

#include <ATen/Parallel.h>

#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <limits>
#include <mutex>
#include <thread>
#include <vector>

#include "core/random.h"
#include "model/batch_view.h"
#include "model/bias.h"
#include "model/cross_entropy.h"
#include "model/decoder.h"
#include "model/host_maths.h"
#include "model/element_casts.h"
#include "model/head_norm.h"
#include "model/parallel_rows.h"
#include "model/rms_norm.h"
#include "model/rope.h"
#include "model/rope_frequencies.h"
#include "model/row_lanes.h"
#include "model/swiglu.h"

namespace penstock {
namespace {

constexpr uint64_t kSeed = 20240614;

std::vector<float> random_floats(size_t count, uint64_t stream) {
  const CounterRandom random(kSeed, stream);
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = random.normal(i);
  return values;
}

TEST(ParallelRows, CoversEveryRowOnceAndSharesThemBetweenThreads) {
  set_compute_threads(2);
  constexpr int64_t kRows = 1001;
  std::vector<std::atomic<int>> visits(kRows);
  std::mutex mutex;
  std::condition_variable arrived;
  std::vector<std::thread::id> threads;
  parallel_rows(kRows, 1 << 20, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) ++visits[static_cast<size_t>(row)];
    // Each range waits for the other: this can only end with two threads.
    std::unique_lock lock(mutex);
    threads.push_back(std::this_thread::get_id());
    arrived.notify_all();
    arrived.wait(lock, [&] { return threads.size() == 2; });
  });
  EXPECT_NE(threads[0], threads[1]);
  for (const auto& count : visits) EXPECT_EQ(count, 1);
}

TEST(ParallelRows, SmallWorkStaysOnTheCaller) {
  set_compute_threads(2);
  int calls = 0;
  parallel_rows(8, 16, [&](int64_t begin, int64_t end) {
    ++calls;
    EXPECT_EQ(begin, 0);
    EXPECT_EQ(end, 8);
  });
  parallel_rows(0, 16, [&](int64_t, int64_t) { ++calls; });
  EXPECT_EQ(calls, 1);
}

TEST(RowLanes, ExponentialIsAccurateToAnUlpOrTwo) {
  double worst = 0;
  for (float x = -86.9f; x < 87.9f; x += 0.00137f) {
    const double expected = std::exp(static_cast<double>(x));
    const double actual = lanes::exponential(lanes::splat(x))[0];
    worst = std::max(worst, std::abs(actual - expected) / expected);
  }
  EXPECT_LE(worst, 2.0 * std::numeric_limits<float>::epsilon());
  EXPECT_EQ(lanes::exponential(lanes::splat(0.0f))[0], 1.0f);
  EXPECT_LE(lanes::exponential(lanes::splat(-INFINITY))[0], 2e-38f);
  EXPECT_TRUE(std::isnan(lanes::exponential(lanes::splat(NAN))[0]));
}

TEST(RowLanes, BFloat16StoreRoundsAsTheScalarCast) {
  std::vector<float> values = random_floats(4096, 1);
  for (const float special : {0.0f, -0.0f, INFINITY, -INFINITY, 1.00390625f, 1.01171875f, 3.4e38f, 1e-40f}) {
    values.push_back(special);
  }
  values.push_back(std::bit_cast<float>(0x7f800001u));  // a NaN whose high half alone would read as infinity
  values.push_back(-NAN);
  std::vector<bf16_bits> narrow(values.size());
  cast_elements(DType::kFloat32, values.data(), DType::kBFloat16, narrow.data(), static_cast<int64_t>(values.size()));
  for (size_t i = 0; i < values.size(); ++i) EXPECT_EQ(narrow[i], bf16_from_float(values[i])) << values[i];
  std::vector<float> wide(values.size());
  cast_elements(DType::kBFloat16, narrow.data(), DType::kFloat32, wide.data(), static_cast<int64_t>(values.size()));
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(std::bit_cast<uint32_t>(wide[i]), std::bit_cast<uint32_t>(float_from_bf16(narrow[i])));
  }
}

// Runs every kernel on rows of `width` and returns all that they wrote.
std::vector<float> run_kernels(int64_t rows, int64_t width, int threads) {
  set_compute_threads(threads);
  const auto count = static_cast<size_t>(rows * width);
  const std::vector<float> x = random_floats(count, 2), d = random_floats(count, 3), w = random_floats(width, 4);
  std::vector<float> results, normed(count), d_x(count), rstd(rows), weight_gradient(width);
  const auto keep = [&](const std::vector<float>& values) {
    results.insert(results.end(), values.begin(), values.end());
  };

  rms_norm(DType::kFloat32, {rows, width, 1e-5f, x.data(), w.data(), normed.data(), rstd.data()});
  keep(normed);
  std::vector<float> partials(static_cast<size_t>(rms_norm_partials(rows, width)));
  rms_norm_backward(DType::kFloat32, {rows, width, x.data(), w.data(), rstd.data(), d.data(), nullptr, d_x.data(),
                                      nullptr, partials.data(), weight_gradient.data(), false});
  keep(d_x);
  keep(weight_gradient);

  const HeadNormShape heads{rows, width, 1, 1, width / 3};
  std::vector<float> values = x, d_values = d, raw(static_cast<size_t>(rows * heads.width()));
  std::vector<float> head_rstd(static_cast<size_t>(rows * 2)), query_gradient(width), key_gradient(width);
  std::vector<float> head_partials(static_cast<size_t>(head_norm_partials(rows, heads.head_dim)));
  const float* key_weight = w.data() + heads.head_dim;
  head_norm(DType::kFloat32, {heads, 1e-5f, w.data(), key_weight, values.data(), raw.data(), head_rstd.data()});
  keep(values);
  head_norm_backward(DType::kFloat32, {heads, w.data(), key_weight, raw.data(), head_rstd.data(), d_values.data(),
                                       head_partials.data(), query_gradient.data(), key_gradient.data(), false});
  keep(d_values);
  keep(query_gradient);
  keep(key_gradient);

  std::vector<float> sums(static_cast<size_t>(width));
  add_column_sums(DType::kFloat32, {d.data(), rows, width, 0, width, sums.data(), false});
  keep(sums);

  const int64_t half = width / 2;
  std::vector<float> activated(static_cast<size_t>(rows * half)), d_gate_up(static_cast<size_t>(rows * 2 * half));
  swiglu(DType::kFloat32, rows, half, x.data(), activated.data());
  keep(activated);
  swiglu_backward(DType::kFloat32, rows, half, x.data(), d.data(), activated.data(), d_gate_up.data());
  keep(d_gate_up);

  std::vector<float> logits = x;
  std::vector<int32_t> targets(static_cast<size_t>(rows));
  for (size_t row = 0; row < targets.size(); ++row) {
    targets[row] = row % 5 == 0 ? kUntrainedTarget : static_cast<int32_t>(row) % static_cast<int32_t>(width);
  }
  std::vector<double> row_losses(static_cast<size_t>(rows));
  cross_entropy(DType::kFloat32, {rows, width, targets.data(), logits.data(), row_losses.data(), true, 0.5f});
  keep(logits);

  std::vector<int32_t> positions(static_cast<size_t>(rows));
  for (size_t row = 0; row < positions.size(); ++row) positions[row] = static_cast<int32_t>(row);
  ModelConfig config;
  config.head_dim = half / 2 * 2;
  const RopeFrequencies frequencies = rope_frequencies(config);
  std::vector<float> cosines(positions.size() * frequencies.inverse.size()), sines(cosines.size()), rotated = x;
  rope_angles(rows, positions.data(), frequencies, {cosines.data(), sines.data()});
  rope(DType::kFloat32, {rows, width, 2, half / 2 * 2, rotated.data(), {cosines.data(), sines.data()}, false});
  keep(rotated);
  rope(DType::kFloat32, {rows, width, 2, half / 2 * 2, rotated.data(), {cosines.data(), sines.data()}, true});
  for (size_t i = 0; i < count; ++i) EXPECT_NEAR(rotated[i], x[i], 1e-5) << "turning back";
  return results;
}

TEST(RowKernels, ThreadsDoNotChangeABit) {
  for (const int64_t width : {18, 100, 514}) {
    const std::vector<float> one = run_kernels(700, width, 1), two = run_kernels(700, width, 2),
                             three = run_kernels(700, width, 3);
    ASSERT_EQ(one.size(), two.size());
    EXPECT_EQ(std::memcmp(one.data(), two.data(), one.size() * sizeof(float)), 0) << "width " << width;
    EXPECT_EQ(std::memcmp(one.data(), three.data(), one.size() * sizeof(float)), 0) << "width " << width;
  }
}

// Any columns of a matrix, of either type, against sums in double; also added to what was there.
TEST(ColumnSums, SumTheAskedColumns) {
  set_compute_threads(2);
  constexpr int64_t kRows = 1000, kWidth = 700, kFirst = 3;
  const std::vector<float> values = random_floats(kRows * kWidth, 6);
  std::vector<bf16_bits> narrow(values.size());
  cast_elements(DType::kFloat32, values.data(), DType::kBFloat16, narrow.data(), kRows * kWidth);
  for (const int64_t columns : {1, 17, 256, 600}) {
    std::vector<float> sums(static_cast<size_t>(columns) + 1, 5.0f), narrow_sums(sums.size(), 5.0f);
    add_column_sums(DType::kFloat32, {values.data(), kRows, kWidth, kFirst, columns, sums.data(), false});
    add_column_sums(DType::kBFloat16, {narrow.data(), kRows, kWidth, kFirst, columns, narrow_sums.data(), true});
    for (int64_t i = 0; i < columns; ++i) {
      double sum = 0, narrow_sum = 5;
      for (int64_t row = 0; row < kRows; ++row) {
        sum += values[static_cast<size_t>(row * kWidth + kFirst + i)];
        narrow_sum += float_from_bf16(narrow[static_cast<size_t>(row * kWidth + kFirst + i)]);
      }
      ASSERT_NEAR(sums[static_cast<size_t>(i)], sum, 1e-4) << "column " << i << " of " << columns;
      ASSERT_NEAR(narrow_sums[static_cast<size_t>(i)], narrow_sum, 1e-4) << "column " << i << " of " << columns;
    }
    EXPECT_EQ(sums.back(), 5.0f);
    EXPECT_EQ(narrow_sums.back(), 5.0f);
  }
}

TEST(ElementCasts, AccumulateAddsOrReplaces) {
  const std::vector<float> values = random_floats(10001, 5);
  std::vector<bf16_bits> narrow(values.size());
  cast_elements(DType::kFloat32, values.data(), DType::kBFloat16, narrow.data(), static_cast<int64_t>(values.size()));
  std::vector<float> sum(values.size(), NAN);
  const auto count = static_cast<int64_t>(values.size());
  accumulate_elements(DType::kBFloat16, narrow.data(), sum.data(), false, count);
  accumulate_elements(DType::kFloat32, values.data(), sum.data(), true, count);
  accumulate_elements(DType::kBFloat16, narrow.data(), sum.data(), true, count);
  for (size_t i = 0; i < values.size(); ++i) {
    const float rounded = float_from_bf16(narrow[i]);
    ASSERT_EQ(sum[i], (rounded + values[i]) + rounded);
  }
}

}  // namespace
}  // namespace penstock
