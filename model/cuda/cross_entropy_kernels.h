// Cross-entropy over rows of logits (model/cross_entropy.h), one block a row.
// Bytes: one reading gives maximum and sum together, and making the gradient is one more reading and a writing. That is
// 1 x the row's bytes in evaluation and 3 x in training, where an untrained row is only written; in parts, 1 x for the
// statistics and 2 x for the gradient. A row has 64 to 512 KiB, and those of all resident blocks together exceed the
// L2 cache, so the second reading comes from DRAM. The goal is 80% of peak bandwidth.
// Arithmetic: about 8 instructions an element and pass, one of them of the special-function unit, which does 16 a clock
// on a multiprocessor: 3.7e12 elements a second on an H200, whose memory delivers 2.4e12 in bf16. Doubles are for the
// row's logarithm only.
#pragma once

#include "model/batch_view.h"
#include "model/cross_entropy.h"
#include "model/cuda/kernel_math.h"
#include "model/cuda/logit_rows.h"

namespace penstock {

PENSTOCK_KERNEL_CODE inline double row_loss(float maximum, float exponential_sum, float target_logit) {
  return kernel_math::logarithm(static_cast<double>(exponential_sum)) + maximum - target_logit;
}

// A logit by its token; NaN, which becomes the loss, where there is no such token.
template <class T>
PENSTOCK_KERNEL_CODE float logit_at(const T* logits, int64_t vocab, int64_t token) {
  return token >= 0 && token < vocab ? widen(logits[token]) : NAN;
}

template <class T>
struct CrossEntropyKernel {
  CrossEntropyRows rows;

  template <class Block>
  PENSTOCK_KERNEL_CODE void operator()(Block& block) const {
    const int64_t row = block.block();
    T* logits = static_cast<T*>(rows.logits) + row * rows.vocab;
    const int32_t target = rows.targets[row];
    if (target == kUntrainedTarget) {
      if (block.thread() == 0) rows.row_losses[row] = 0;
      if (rows.turn_into_gradient) clear_row(block, logits, rows.vocab);
      return;
    }
    BlockReduction<Block, float> reduction(block, block.template shared<float>());
    const float target_logit = logit_at(logits, rows.vocab, target);  // before it is overwritten
    const ExponentialSum total = row_exponential_sum(block, reduction, logits, rows.vocab);
    if (block.thread() == 0) rows.row_losses[row] = row_loss(total.maximum, total.sum, target_logit);
    if (!rows.turn_into_gradient) return;
    write_row_gradient(block, logits, rows.vocab, total.maximum, rows.scale / total.sum, target, target_logit,
                       rows.scale);
  }
};

template <class T>
struct LossStatisticsKernel {
  PartialCrossEntropyRows rows;

  template <class Block>
  PENSTOCK_KERNEL_CODE void operator()(Block& block) const {
    const int64_t row = block.block();
    const bool is_first = rows.first_token == 0;
    const int32_t target = rows.targets[row];
    if (target == kUntrainedTarget) {
      if (is_first && block.thread() == 0) put(row, ExponentialSum{0, 0}, 0);
      return;
    }
    const T* logits = static_cast<const T*>(rows.logits) + row * rows.vocab;
    BlockReduction<Block, float> reduction(block, block.template shared<float>());
    const ExponentialSum part = row_exponential_sum(block, reduction, logits, rows.vocab);
    if (block.thread() != 0) return;
    const float part_target = logit_at(logits, rows.vocab, target - rows.first_token);
    if (is_first) return put(row, part, part_target);  // nothing of what was there before counts, not even as a factor
    const bool is_here = target >= rows.first_token && target < rows.first_token + rows.vocab;
    put(row, joined(before(row), part), is_here ? part_target : rows.statistics.target_logit[row]);
  }

 private:
  PENSTOCK_KERNEL_CODE ExponentialSum before(int64_t row) const {
    return {rows.statistics.maximum[row], rows.statistics.exponential_sum[row]};
  }
  PENSTOCK_KERNEL_CODE static ExponentialSum joined(const ExponentialSum& a, const ExponentialSum& b) {
    const float maximum = kernel_math::larger(a.maximum, b.maximum);
    return {maximum, a.sum * kernel_math::exponential(a.maximum - maximum) +
                         b.sum * kernel_math::exponential(b.maximum - maximum)};
  }
  PENSTOCK_KERNEL_CODE void put(int64_t row, const ExponentialSum& total, float target_logit) const {
    rows.statistics.maximum[row] = total.maximum;
    rows.statistics.exponential_sum[row] = total.sum;
    rows.statistics.target_logit[row] = target_logit;
  }
};

template <class T>
struct PartialGradientKernel {
  PartialCrossEntropyRows rows;
  float scale;

  template <class Block>
  PENSTOCK_KERNEL_CODE void operator()(Block& block) const {
    const int64_t row = block.block();
    T* logits = static_cast<T*>(rows.logits) + row * rows.vocab;
    const int32_t target = rows.targets[row];
    if (target == kUntrainedTarget) return clear_row(block, logits, rows.vocab);
    const LossStatistics& statistics = rows.statistics;
    write_row_gradient(block, logits, rows.vocab, statistics.maximum[row], scale / statistics.exponential_sum[row],
                       target - rows.first_token, statistics.target_logit[row], scale);
  }
};

// One thread a row: 16 bytes read and 8 written.
struct StatisticsLossesKernel {
  int64_t rows;
  const int32_t* targets;
  LossStatistics statistics;
  double* row_losses;

  template <class Block>
  PENSTOCK_KERNEL_CODE void operator()(Block& block) const {
    const int64_t row = block.block() * block.threads() + block.thread();
    if (row >= rows) return;
    const bool is_trained = targets[row] != kUntrainedTarget;
    row_losses[row] =
        is_trained ? row_loss(statistics.maximum[row], statistics.exponential_sum[row], statistics.target_logit[row])
                   : 0;
  }
};

// One block, 8 bytes a row: thread t sums the rows t, t + threads, ..., then the threads in the reduction's order.
struct LossSumKernel {
  const double* row_losses;
  int64_t rows;
  bool accumulate;
  double* sum;

  template <class Block>
  PENSTOCK_KERNEL_CODE void operator()(Block& block) const {
    double own = 0;
    for (int64_t row = block.thread(); row < rows; row += block.threads()) own += row_losses[row];
    BlockReduction<Block, double> reduction(block, block.template shared<double>());
    const double total = reduction.sum(own);
    if (block.thread() == 0) *sum = accumulate ? *sum + total : total;
  }
};

}  // namespace penstock
