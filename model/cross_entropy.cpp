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

template <typename T>
PENSTOCK_LANES_INLINE void loss_row(const CrossEntropyRows& rows, int64_t row) {
  T* logits = static_cast<T*>(rows.logits) + row * rows.vocab;
  const int32_t target = rows.targets[static_cast<size_t>(row)];
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

  const float scale = rows.scale / sum;
  lanes::for_row(
      rows.vocab, [&](const auto& read, const auto& write) __attribute__((always_inline)) {
        write(logits, lanes::exponential(read(logits) - maximum) * scale);
      });
  const lanes::Float16 exponential = lanes::exponential(lanes::splat(target_logit - maximum));
  lanes::store_tail(logits + target, exponential * scale - rows.scale, 1);
}

template <typename T>
PENSTOCK_LANES_INLINE void loss_rows(const CrossEntropyRows& rows, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) loss_row<T>(rows, row);
}

PENSTOCK_ROW_KERNEL void loss_rows_float32(const CrossEntropyRows& rows, int64_t begin, int64_t end) {
  loss_rows<float>(rows, begin, end);
}
PENSTOCK_ROW_KERNEL void loss_rows_bfloat16(const CrossEntropyRows& rows, int64_t begin, int64_t end) {
  loss_rows<bf16_bits>(rows, begin, end);
}

}  // namespace

void cross_entropy(DType dtype, const CrossEntropyRows& rows) {
  parallel_rows(static_cast<int64_t>(rows.targets.size()), 8 * rows.vocab, [&](int64_t begin, int64_t end) {
    if (dtype == DType::kFloat32)
      loss_rows_float32(rows, begin, end);
    else
      loss_rows_bfloat16(rows, begin, end);
  });
}

}  // namespace penstock
