// The cross-entropy kernels, the vocabulary whole and in parts, against log softmax in double.
#include <algorithm>

#include "kernel_suite.h"
#include "model/batch_view.h"

namespace penstock {
namespace {

// Rows that go wrong in different ways, one of each kind.
enum class LogitKind { kNormal, kWide, kEqual, kVeryNegative, kOneFarAbove, kHoles, kUntrained, kCount };
constexpr auto kLogitRows = static_cast<int64_t>(LogitKind::kCount);
constexpr float kLossScale = 0.125f;

double logit_of(LogitKind kind, double normal, int64_t token, int64_t vocab) {
  switch (kind) {
    case LogitKind::kWide:
      return 60 * normal;
    case LogitKind::kEqual:
      return 3.5;
    case LogitKind::kVeryNegative:
      return -1e4 + normal;
    case LogitKind::kOneFarAbove:
      return token == vocab / 3 ? 1e4 : -1e4;
    case LogitKind::kHoles:  // the whole first half, and with it whole parts
      return token < vocab / 2 ? -INFINITY : normal;
    default:
      return 3 * normal;
  }
}

struct LossRows {
  LossRows(DType type, int64_t tokens) : dtype(type), vocab(tokens) {
    const std::vector<double> normals = random_values(DType::kFloat32, 31, kLogitRows * vocab);
    for (int64_t row = 0; row < kLogitRows; ++row) {
      const auto kind = static_cast<LogitKind>(row);
      for (int64_t token = 0; token < vocab; ++token) {
        const double normal = normals[static_cast<size_t>(row * vocab + token)];
        logits.push_back(rounded_to(dtype, logit_of(kind, normal, token, vocab)));
      }
      const int64_t target = kind == LogitKind::kNormal ? 0 : kind == LogitKind::kEqual ? vocab / 2 : vocab - 1;
      targets.push_back(kind == LogitKind::kUntrained ? kUntrainedTarget : static_cast<int32_t>(target));
    }
  }

  double logit(int64_t row, int64_t token) const { return logits[static_cast<size_t>(row * vocab + token)]; }
  int32_t target(int64_t row) const { return targets[static_cast<size_t>(row)]; }
  double log_sum(int64_t row) const {
    double maximum = -INFINITY, sum = 0;
    for (int64_t token = 0; token < vocab; ++token) maximum = std::max(maximum, logit(row, token));
    for (int64_t token = 0; token < vocab; ++token) sum += std::exp(logit(row, token) - maximum);
    return maximum + std::log(sum);
  }

  void expect_losses(const std::vector<double>& got) const {
    for (int64_t row = 0; row < kLogitRows; ++row) {
      const bool is_trained = target(row) != kUntrainedTarget;
      const double want = is_trained ? log_sum(row) - logit(row, target(row)) : 0;
      EXPECT_NEAR(got[static_cast<size_t>(row)], want, is_trained ? 4e-6 : 0) << "row " << row;
    }
  }
  // `got` is the gradient of the tokens [first, first + width).
  void expect_gradient(const std::vector<double>& got, int64_t first, int64_t width) const {
    for (int64_t row = 0; row < kLogitRows; ++row) {
      const bool is_trained = target(row) != kUntrainedTarget;
      const double log_total = log_sum(row);
      for (int64_t i = 0; i < width; ++i) {
        SCOPED_TRACE("row " + std::to_string(row) + ", token " + std::to_string(first + i));
        const double share = std::exp(logit(row, first + i) - log_total) - (target(row) == first + i ? 1 : 0);
        expect_near(dtype, got[static_cast<size_t>(row * width + i)], is_trained ? kLossScale * share : 0,
                    is_trained ? kLossScale : 0);
      }
    }
  }

  DType dtype;
  int64_t vocab;
  std::vector<double> logits;
  std::vector<int32_t> targets;
};

void check_cross_entropy(KernelRig& rig, DType dtype, int64_t vocab, bool turn_into_gradient) {
  SCOPED_TRACE(std::string(dtype_name(dtype)) + ", vocabulary " + std::to_string(vocab) +
               (turn_into_gradient ? ", gradient" : ""));
  const LossRows rows(dtype, vocab);
  void* logits = rig.put(dtype, rows.logits);
  double* losses = rig.put(std::vector<double>(kLogitRows, NAN));
  rig.kernels().cross_entropy(dtype, CrossEntropyRows{kLogitRows, vocab, rig.put(rows.targets), logits, losses,
                                                      turn_into_gradient, kLossScale});
  rows.expect_losses(rig.get(losses, kLogitRows));
  const std::vector<double> after = rig.get(dtype, logits, rows.logits.size());
  if (turn_into_gradient) {
    rows.expect_gradient(after, 0, vocab);
  } else {
    EXPECT_EQ(after, rows.logits);
  }
}

// The vocabulary in parts of `width` tokens, the last one of what is left.
class LossParts {
 public:
  LossParts(KernelRig& rig, const LossRows& rows, int64_t width) : rig_(rig), rows_(rows) {
    // The first part must not count what it finds.
    const std::vector<float> garbage(kLogitRows, NAN);
    const LossStatistics statistics{rig.put(garbage), rig.put(garbage), rig.put(garbage)};
    const int32_t* targets = rig.put(rows.targets);
    for (int64_t first = 0; first < rows.vocab; first += width) {
      const int64_t tokens = std::min(width, rows.vocab - first);
      std::vector<double> logits;
      for (int64_t row = 0; row < kLogitRows; ++row) {
        for (int64_t i = 0; i < tokens; ++i) logits.push_back(rows.logit(row, first + i));
      }
      parts_.push_back({kLogitRows, tokens, first, targets, rig.put(rows.dtype, logits), statistics});
    }
  }

  std::vector<double> losses() {
    for (const PartialCrossEntropyRows& part : parts_) rig_.kernels().add_loss_statistics(rows_.dtype, part);
    double* losses = rig_.put(std::vector<double>(kLogitRows, NAN));
    rig_.kernels().losses_of_statistics(kLogitRows, parts_[0].targets, parts_[0].statistics, losses);
    return rig_.get(losses, kLogitRows);
  }
  // After losses().
  void expect_statistics() {
    const auto untrained = static_cast<size_t>(LogitKind::kUntrained);
    const LossStatistics& statistics = parts_[0].statistics;
    for (const float* of : {statistics.maximum, statistics.exponential_sum, statistics.target_logit}) {
      EXPECT_EQ(rig_.get(of, kLogitRows)[untrained], 0);
    }
  }
  void expect_gradients() {
    for (const PartialCrossEntropyRows& part : parts_) {
      rig_.kernels().partial_cross_entropy_gradient(rows_.dtype, part, kLossScale);
      rows_.expect_gradient(rig_.get(rows_.dtype, part.logits, static_cast<size_t>(part.rows * part.vocab)),
                            part.first_token, part.vocab);
    }
  }

 private:
  KernelRig& rig_;
  const LossRows& rows_;
  std::vector<PartialCrossEntropyRows> parts_;
};

void check_cross_entropy_in_parts(KernelRig& rig, DType dtype, int64_t vocab, int64_t width) {
  SCOPED_TRACE(std::string(dtype_name(dtype)) + ", vocabulary " + std::to_string(vocab) + " in parts of " +
               std::to_string(width));
  const LossRows rows(dtype, vocab);
  LossParts parts(rig, rows, width);
  rows.expect_losses(parts.losses());
  parts.expect_statistics();
  parts.expect_gradients();
}

// A token outside the vocabulary makes its row's loss NaN and leaves the other rows alone.
void check_bad_targets(KernelRig& rig, DType dtype, int32_t bad_target) {
  SCOPED_TRACE("target " + std::to_string(bad_target));
  LossRows rows(dtype, 40);
  const double good_loss = rows.log_sum(1) - rows.logit(1, rows.target(1));
  rows.targets[0] = bad_target;
  double* losses = rig.put(std::vector<double>(kLogitRows, 0));
  rig.kernels().cross_entropy(dtype, CrossEntropyRows{kLogitRows, rows.vocab, rig.put(rows.targets),
                                                      rig.put(dtype, rows.logits), losses, true, kLossScale});
  const std::vector<double> whole = rig.get(losses, kLogitRows), in_parts = LossParts(rig, rows, 17).losses();
  EXPECT_TRUE(std::isnan(whole[0]));
  EXPECT_TRUE(std::isnan(in_parts[0]));
  EXPECT_NEAR(whole[1], good_loss, 4e-6);
  EXPECT_NEAR(in_parts[1], good_loss, 4e-6);
}

// What is not a number, or infinite, must not pass as a loss.
void check_bad_logits(KernelRig& rig, DType dtype, double bad_logit) {
  LossRows rows(dtype, 40);
  for (const size_t row : {size_t{0}, size_t{1}}) rows.logits[row * 40 + 21] = bad_logit;
  double* losses = rig.put(std::vector<double>(kLogitRows, 0));
  rig.kernels().cross_entropy(dtype, CrossEntropyRows{kLogitRows, rows.vocab, rig.put(rows.targets),
                                                      rig.put(dtype, rows.logits), losses, false, kLossScale});
  const std::vector<double> whole = rig.get(losses, kLogitRows), in_parts = LossParts(rig, rows, 17).losses();
  for (const size_t row : {size_t{0}, size_t{1}}) {
    EXPECT_FALSE(std::isfinite(whole[row])) << "logit " << bad_logit;
    EXPECT_FALSE(std::isfinite(in_parts[row])) << "logit " << bad_logit;
  }
}

void check_sum_losses(KernelRig& rig, int64_t rows, bool accumulate) {
  SCOPED_TRACE(std::to_string(rows) + " rows" + (accumulate ? ", added" : ""));
  const std::vector<double> losses = random_values(DType::kFloat32, 41, rows + 1, 1e3);  // the last one is not summed
  double want = accumulate ? 7.5 : 0;
  for (int64_t row = 0; row < rows; ++row) want += losses[static_cast<size_t>(row)];
  const double* device_losses = rig.put(losses);
  double sums[2];
  for (double& sum : sums) {
    double* device_sum = rig.put(std::vector<double>{accumulate ? 7.5 : NAN});
    rig.kernels().sum_losses(device_losses, rows, accumulate, device_sum);
    sum = rig.get(device_sum, 1)[0];
    EXPECT_NEAR(sum, want, 1e-8);
  }
  EXPECT_EQ(sums[0], sums[1]);
}

void check_every_cross_entropy(KernelRig& rig) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const int64_t vocab : {1, 2, 8, 31, 33, 257, 1000, 4096, 4099}) {
      for (const bool turn_into_gradient : {false, true}) check_cross_entropy(rig, dtype, vocab, turn_into_gradient);
    }
  }
}
void check_every_cross_entropy_in_parts(KernelRig& rig) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const auto& [vocab, width] :
         {std::pair{1, 1}, {2, 1}, {33, 31}, {257, 64}, {1000, 1000}, {4096, 2048}, {4099, 1024}}) {
      check_cross_entropy_in_parts(rig, dtype, vocab, width);
    }
  }
}
void check_every_bad_row(KernelRig& rig) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const int32_t target : {-1, 40, 1 << 30}) check_bad_targets(rig, dtype, target);
    for (const double logit : {double{NAN}, double{INFINITY}}) check_bad_logits(rig, dtype, logit);
  }
}
void check_every_loss_sum(KernelRig& rig) {
  for (const int64_t rows : {0, 1, 31, 64, 100, 1000}) {
    for (const bool accumulate : {false, true}) check_sum_losses(rig, rows, accumulate);
  }
}

TEST_P(KernelSuite, CrossEntropyEqualsLogSoftmaxAndItsGradient) { check_every_cross_entropy(rig()); }
TEST_P(KernelSuite, TheVocabularyInPartsGivesTheSame) { check_every_cross_entropy_in_parts(rig()); }
TEST_P(KernelSuite, ABadTargetOrLogitIsNoLoss) { check_every_bad_row(rig()); }
TEST_P(KernelSuite, LossesSumInOneOrder) { check_every_loss_sum(rig()); }

}  // namespace
}  // namespace penstock
