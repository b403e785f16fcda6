#include "model/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/check.h"
#include "model/batch_view.h"
#include "model/parallel_rows.h"
#include "model/row_lanes.h"

namespace penstock {

namespace {

template <typename T>
PENSTOCK_LANES_INLINE float row_maximum(const T* logits, int64_t vocab) {
  lanes::Float16 largest = lanes::splat(-std::numeric_limits<float>::infinity());
  int64_t i = 0;
  for (; i + lanes::kLaneCount <= vocab; i += lanes::kLaneCount) {
    largest = lanes::maximum(largest, lanes::load(logits + i));
  }
  float maximum = lanes::maximum(largest);
  for (; i < vocab; ++i) maximum = std::max(maximum, lanes::load_tail(logits + i, 1)[0]);
  return maximum;
}

// The tail's padding lanes would add e^(-maximum) each, so only its real lanes are added.
template <typename T>
PENSTOCK_LANES_INLINE float row_exponential_sum(const T* logits, int64_t vocab, float maximum) {
  lanes::Float16 total = {};
  int64_t i = 0;
  for (; i + lanes::kLaneCount <= vocab; i += lanes::kLaneCount) {
    total += lanes::exponential(lanes::load(logits + i) - maximum);
  }
  const lanes::Float16 tail = lanes::exponential(lanes::load_tail(logits + i, vocab - i) - maximum);
  for (int64_t lane = 0; lane < vocab - i; ++lane) total[lane] += tail[lane];
  return lanes::sum(total);
}

// Logits into their shares, times `scale`.
template <typename T>
PENSTOCK_LANES_INLINE void row_gradient(T* logits, int64_t vocab, float maximum, float scale) {
  lanes::for_row(
      vocab, [&](const auto& read, const auto& write)
                 __attribute__((always_inline)) { write(logits, lanes::exponential(read(logits) - maximum) * scale); });
}

// The target's own share less one, rounded once.
template <typename T>
PENSTOCK_LANES_INLINE void target_gradient(T* logit, float below_maximum, float share_scale, float scale) {
  const lanes::Float16 exponential = lanes::exponential(lanes::splat(below_maximum));
  lanes::store_tail(logit, exponential * share_scale - scale, 1);
}

template <typename T>
PENSTOCK_LANES_INLINE void loss_row(const CrossEntropyRows& rows, int64_t row) {
  T* logits = static_cast<T*>(rows.logits) + row * rows.vocab;
  const int32_t target = rows.targets[row];
  rows.row_losses[row] = 0;
  if (target == kUntrainedTarget) {
    if (rows.turn_into_gradient) std::memset(logits, 0, static_cast<size_t>(rows.vocab) * sizeof(T));
    return;
  }
  CHECK_GE(target, 0);
  CHECK_LT(target, rows.vocab);
  const float maximum = row_maximum(logits, rows.vocab);
  const float sum = row_exponential_sum(logits, rows.vocab, maximum);
  const float target_logit = lanes::load_tail(logits + target, 1)[0];
  rows.row_losses[row] = std::log(static_cast<double>(sum)) + maximum - target_logit;
  if (!rows.turn_into_gradient) return;

  row_gradient(logits, rows.vocab, maximum, rows.scale / sum);
  target_gradient(logits + target, target_logit - maximum, rows.scale / sum, rows.scale);
}

template <typename T>
PENSTOCK_LANES_INLINE void loss_rows(const CrossEntropyRows& rows, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) loss_row<T>(rows, row);
}

// The target's place in this part, or -1.
int64_t place_in_part(const PartialCrossEntropyRows& rows, int32_t target) {
  const int64_t place = target - rows.first_token;
  return place >= 0 && place < rows.vocab ? place : -1;
}

template <typename T>
PENSTOCK_LANES_INLINE void statistics_row(const PartialCrossEntropyRows& rows, int64_t row) {
  const T* logits = static_cast<const T*>(rows.logits) + row * rows.vocab;
  const int32_t target = rows.targets[row];
  float& maximum = rows.statistics.maximum[row];
  float& sum = rows.statistics.exponential_sum[row];
  float& target_logit = rows.statistics.target_logit[row];
  if (rows.first_token == 0) {
    target_logit = 0;
    maximum = 0;
    sum = 0;
  }
  if (target == kUntrainedTarget) return;
  const float part_maximum = row_maximum(logits, rows.vocab);
  const bool is_first = rows.first_token == 0;
  const float new_maximum = is_first ? part_maximum : std::max(maximum, part_maximum);
  // Not from the zero above: far below it e^(0 - maximum) is infinite.
  const float before = is_first ? 0.0f : sum * std::exp(maximum - new_maximum);
  sum = before + row_exponential_sum(logits, rows.vocab, new_maximum);
  maximum = new_maximum;
  if (const int64_t place = place_in_part(rows, target); place >= 0) {
    target_logit = lanes::load_tail(logits + place, 1)[0];
  }
}

template <typename T>
PENSTOCK_LANES_INLINE void statistics_rows(const PartialCrossEntropyRows& rows, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) statistics_row<T>(rows, row);
}

struct PartialGradientRows {
  const PartialCrossEntropyRows& rows;
  float scale;
};

template <typename T>
PENSTOCK_LANES_INLINE void partial_gradient_rows(const PartialGradientRows& gradient, int64_t begin, int64_t end) {
  const PartialCrossEntropyRows& rows = gradient.rows;
  for (int64_t row = begin; row < end; ++row) {
    T* logits = static_cast<T*>(rows.logits) + row * rows.vocab;
    const int32_t target = rows.targets[row];
    if (target == kUntrainedTarget) {
      std::memset(logits, 0, static_cast<size_t>(rows.vocab) * sizeof(T));
      continue;
    }
    const float maximum = rows.statistics.maximum[row], scale = gradient.scale / rows.statistics.exponential_sum[row];
    row_gradient(logits, rows.vocab, maximum, scale);
    if (const int64_t place = place_in_part(rows, target); place >= 0) {
      target_gradient(logits + place, rows.statistics.target_logit[row] - maximum, scale, gradient.scale);
    }
  }
}

PENSTOCK_ROW_KERNEL void statistics_rows_float32(const PartialCrossEntropyRows& rows, int64_t begin, int64_t end) {
  statistics_rows<float>(rows, begin, end);
}
PENSTOCK_ROW_KERNEL void statistics_rows_bfloat16(const PartialCrossEntropyRows& rows, int64_t begin, int64_t end) {
  statistics_rows<bf16_bits>(rows, begin, end);
}
PENSTOCK_ROW_KERNEL void partial_gradient_rows_float32(const PartialGradientRows& rows, int64_t begin, int64_t end) {
  partial_gradient_rows<float>(rows, begin, end);
}
PENSTOCK_ROW_KERNEL void partial_gradient_rows_bfloat16(const PartialGradientRows& rows, int64_t begin, int64_t end) {
  partial_gradient_rows<bf16_bits>(rows, begin, end);
}

PENSTOCK_ROW_KERNEL void loss_rows_float32(const CrossEntropyRows& rows, int64_t begin, int64_t end) {
  loss_rows<float>(rows, begin, end);
}
PENSTOCK_ROW_KERNEL void loss_rows_bfloat16(const CrossEntropyRows& rows, int64_t begin, int64_t end) {
  loss_rows<bf16_bits>(rows, begin, end);
}

}  // namespace

void cross_entropy(DType dtype, const CrossEntropyRows& rows) {
  parallel_rows(rows.rows, 8 * rows.vocab, [&](int64_t begin, int64_t end) {
    if (dtype == DType::kFloat32)
      loss_rows_float32(rows, begin, end);
    else
      loss_rows_bfloat16(rows, begin, end);
  });
}

void add_loss_statistics(DType dtype, const PartialCrossEntropyRows& rows) {
  parallel_rows(rows.rows, 4 * rows.vocab, [&](int64_t begin, int64_t end) {
    if (dtype == DType::kFloat32)
      statistics_rows_float32(rows, begin, end);
    else
      statistics_rows_bfloat16(rows, begin, end);
  });
}

void partial_cross_entropy_gradient(DType dtype, const PartialCrossEntropyRows& rows, float scale) {
  const PartialGradientRows gradient{rows, scale};
  parallel_rows(rows.rows, 4 * rows.vocab, [&](int64_t begin, int64_t end) {
    if (dtype == DType::kFloat32)
      partial_gradient_rows_float32(gradient, begin, end);
    else
      partial_gradient_rows_bfloat16(gradient, begin, end);
  });
}

void losses_of_statistics(int64_t rows, const int32_t* targets, const LossStatistics& statistics, double* row_losses) {
  for (int64_t row = 0; row < rows; ++row) {
    const double total = std::log(static_cast<double>(statistics.exponential_sum[row])) + statistics.maximum[row];
    row_losses[row] = targets[row] == kUntrainedTarget ? 0 : total - statistics.target_logit[row];
  }
}

void sum_losses(const double* row_losses, int64_t rows, bool accumulate, double* sum) {
  double total = 0;
  for (int64_t row = 0; row < rows; ++row) total += row_losses[row];
  *sum = accumulate ? *sum + total : total;
}

}  // namespace penstock
